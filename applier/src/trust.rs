//! Whether a bundle is welcome: signatures and a policy in, a [`VerifiedBundle`] or every reason against it out.
//!
//! Pure: the clock and the bytes are arguments. There is one [`decide`] and no
//! second copy of its rules; `apply`, `plan`, `verify` and `explain` all come here.
//!
//! # What every decision keeps
//!
//! 1. *One scope applies*: the repository's `image` entry, else the longest `org`
//!    above it, else nothing is believed. Scopes never merge.
//! 2. *Signers are key material*, counted in sets: one key that signs twice, or
//!    under two names, or over index and manifest both, is one signer.
//! 3. *A signature binds identity, not place*: repository and version must be in
//!    it and be the ones that are asked for, unless the scope says `digest_only`,
//!    and even then what it does say must be right.
//! 4. *The claimed role only filters.* Which key counts for which role is the policy's.
//! 5. *Others' words can't widen.* A set that is named by reference brings a trust
//!    block of its own: where that has a scope, its demands hold as well; its
//!    waivers, and a waiver of the policy, count for nothing there.
//! 6. *A program from somebody's image needs that somebody's signature*, whoever signed the set.
//!
//! What is genuine (digests, signatures) was settled by `bpfkit_bundler`; here is
//! only who may say it. This module has no child modules but its tests: a child
//! could make a [`VerifiedBundle`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bpfkit_bundler::{FetchedBundle, Parts, RawSignature, signature};
use bpfkit_schemas::{
    bundle::{ANNOTATION_REPOSITORY, ANNOTATION_ROLE, ANNOTATION_VERSION, BundledProgram, ProgramOrigin, SetConfig},
    names::{Digest, Platform, ProgramName, RepositoryName, SetName, Tag},
    reference::Pinned,
    trust::{Claims, Role},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

pub use crate::{
    denial::{About, Denial, Finding, Reason, Whose},
    grounds::{Believed, Ground, Grounds, Met, Signer},
    policy::{NoPolicy, Policy, PolicyError, PolicyProblem, ScopeName, starter_policy},
};

/// A bundle that satisfied a [`Policy`], with the very bytes that did.
///
/// [`decide`] is the only way to get one: the fields are private to this module,
/// and there is no `Deserialize`, `Default` or `From`. The kernel loader takes
/// nothing else, so code that skips the decision does not compile:
///
/// ```compile_fail,E0451
/// # use bpfkit_applier::trust::{Grounds, VerifiedBundle};
/// # fn forge(fetched: bpfkit_bundler::FetchedBundle, grounds: Grounds) -> VerifiedBundle {
/// VerifiedBundle { fetched, grounds }
/// # }
/// ```
///
/// while the same with what [`decide`] returns does:
///
/// ```
/// # use bpfkit_applier::trust::{Asked, Denial, Policy, VerifiedBundle, decide};
/// # fn earn(fetched: bpfkit_bundler::FetchedBundle, policy: &Policy, asked: &Asked) -> Result<VerifiedBundle, Denial> {
/// decide(policy, fetched, asked, jiff::Timestamp::UNIX_EPOCH)
/// # }
/// # fn only_checked(bundle: &VerifiedBundle) -> usize { bundle.objects().len() }
/// ```
///
/// It owns the bytes. Nothing fetches them again by tag, path or name, so what
/// was checked is what is loaded.
#[derive(Debug)]
pub struct VerifiedBundle {
    fetched: FetchedBundle,
    grounds: Grounds,
}

impl VerifiedBundle {
    /// Where it came from, by digest.
    pub fn pinned(&self) -> &Pinned {
        &self.fetched.pinned
    }

    /// The platform that it is for.
    pub fn platform(&self) -> Platform {
        self.fetched.platform
    }

    /// What it says. Where the operator's own manifest is applied, chains, maps and globals come from there instead.
    pub fn config(&self) -> &SetConfig {
        &self.fetched.config
    }

    /// The objects, in the order of `config().programs`.
    pub fn objects(&self) -> &[Arc<[u8]>] {
        &self.fetched.objects
    }

    /// One program and its object.
    pub fn program(&self, name: &ProgramName) -> Option<(&BundledProgram, &Arc<[u8]>)> {
        self.fetched.config.programs.iter().zip(&self.fetched.objects).find(|(program, _)| &program.name == name)
    }

    /// The manifest as its author wrote it.
    pub fn manifest(&self) -> &[u8] {
        &self.fetched.manifest
    }

    /// All of it as it came, to be kept: the bytes that were verified, and no others.
    pub fn parts(&self) -> &Parts {
        &self.fetched.parts
    }

    /// Why it is believed.
    pub fn grounds(&self) -> &Grounds {
        &self.grounds
    }
}

/// What was asked for, which the bundle and its signatures must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// The set.
    pub set: SetName,
    /// The repository that it must belong to; `None` takes the bundle's own word, which its signatures must then repeat.
    pub repository: Option<RepositoryName>,
    /// The version that it must be; `None` as above.
    pub version: Option<Tag>,
    /// Whose word is being carried out.
    pub word: Word,
}

/// The two ways to apply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Word {
    /// A manifest on this disk: chains, maps, globals and the policy are the operator's own.
    /// Waivers count, and so does a set whose programs are each believed by themselves.
    Manifest,
    /// A reference: chains, maps and globals come from the bundle, so the bundle itself must
    /// be signed. The policy is the host's; the set's own block can narrow it.
    Reference,
}

/// What is to be believed: signatures over these digests, for this repository and version.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The repository: it picks the scope, and signatures must name it.
    pub repository: &'a RepositoryName,
    /// The version that signatures must name; with `None` they may name any, but one they must.
    pub version: Option<&'a Tag>,
    /// The digests whose signatures count: an index and the manifest chosen from it.
    pub signed: &'a [Digest],
    /// What is attached as signatures.
    pub signatures: &'a [RawSignature],
}

/// Decides whether `policy` lets `fetched` in at `now`.
///
/// `policy` is the manifest's own block for [`Word::Manifest`], the host's for
/// [`Word::Reference`]; where there is none, the answer is [`NoPolicy`].
///
/// # Errors
///
/// A [`Denial`] with every reason.
pub fn decide(
    policy: &Policy,
    fetched: FetchedBundle,
    asked: &Asked,
    now: Timestamp,
) -> Result<VerifiedBundle, Denial> {
    decide_within(policy, None, fetched, asked, now)
}

/// Decides as [`decide`] does, and holds `fetched` to `bound` as well, wherever that has a scope for it.
///
/// For a word that was given earlier and is carried out again: `policy` is what held then, `bound` what
/// the host says today. A bound can't let anything in, and nothing waives it.
///
/// # Errors
///
/// A [`Denial`] with every reason.
pub fn decide_within(
    policy: &Policy,
    bound: Option<&Policy>,
    fetched: FetchedBundle,
    asked: &Asked,
    now: Timestamp,
) -> Result<VerifiedBundle, Denial> {
    let today = TimeZone::UTC.to_datetime(now).date();
    let mut findings = identity(&fetched.config, asked);
    let grounds = policy_grounds(policy, &fetched, asked, today, &mut findings);
    let narrowed_by = match asked.word {
        Word::Manifest => Vec::new(),
        Word::Reference => narrowing(&fetched, asked, today, &mut findings),
    };
    let bounded_by =
        bound.map_or_else(Vec::new, |bound| narrowed(bound, Whose::Host, &fetched, asked, today, &mut findings));
    match grounds {
        Some((set, programs)) if findings.is_empty() => {
            let grounds = Grounds { name: asked.set.clone(), set, programs, narrowed_by, bounded_by };
            Ok(VerifiedBundle { fetched, grounds })
        }
        _ => Err(Denial::new(fetched.pinned, asked.set.clone(), findings)),
    }
}

/// Weighs the signatures of one case, without a bundle: what `verify` shows of a program's image.
///
/// # Errors
///
/// Every [`Reason`], in their order, none twice.
pub fn weigh(policy: &Policy, case: &Case<'_>, now: Timestamp) -> Result<Believed, Vec<Reason>> {
    weigh_on(policy, case, TimeZone::UTC.to_datetime(now).date())
}

/// The bundle must be what was asked for, whoever signed it and whatever is waived.
fn identity(config: &SetConfig, asked: &Asked) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.set != asked.set {
        findings.push(set_finding(Reason::WrongSet { found: config.set.clone() }));
    } else if config.repository.as_str().rsplit('/').next() != Some(config.set.as_str()) {
        // One repository per set: the repository picks who may be believed, so a set under another's name in
        // one's own repository would be that other set's, live chains and all.
        let (set, repository) = (config.set.clone(), config.repository.clone());
        findings.push(set_finding(Reason::SetElsewhere { set, repository }));
    }
    if let Some(wanted) = asked.repository.as_ref().filter(|wanted| **wanted != config.repository) {
        let signed_for = config.repository.to_string();
        findings.push(set_finding(Reason::WrongRepository { key: None, signed_for, wanted: wanted.clone() }));
    }
    if let Some(wanted) = asked.version.as_ref().filter(|wanted| **wanted != config.version) {
        let signed_for = config.version.to_string();
        findings.push(set_finding(Reason::WrongVersion { key: None, signed_for, wanted: wanted.clone() }));
    }
    findings
}

fn set_finding(reason: Reason) -> Finding {
    Finding { reason, about: About::Set, by: Whose::Policy }
}

/// Grounds by the deciding policy. `None` means that `findings` say why not.
fn policy_grounds(
    policy: &Policy,
    fetched: &FetchedBundle,
    asked: &Asked,
    today: Date,
    findings: &mut Vec<Finding>,
) -> Option<(Ground, BTreeMap<ProgramName, Ground>)> {
    let by_hand = asked.word == Word::Manifest;
    let excused = |waiver: Option<&str>| waiver.map(|because| Ground::Waived { because: because.to_owned() });

    // Each program by itself: its waiver, or its own image's signatures.
    let mut programs = BTreeMap::new();
    let mut complete = true;
    for program in &fetched.config.programs {
        let waiver = policy.waived_program(&program.name);
        let ground = match (waiver.filter(|_| by_hand), image_case(fetched, program)) {
            (_, Ok(None)) => None,
            (Some(because), _) => excused(Some(because)),
            (None, Err(reason)) => {
                findings.push(Finding { reason, about: About::Program(program.name.clone()), by: Whose::Policy });
                complete = false;
                continue;
            }
            (None, Ok(Some(case))) => match weigh_on(policy, &case, today) {
                Ok(believed) => Some(Ground::Signed(believed)),
                Err(reasons) => {
                    let uncounted = waiver.map(|because| Reason::WaiverNotCounted { because: because.to_owned() });
                    let about = About::Program(program.name.clone());
                    let finding = |reason| Finding { reason, about: about.clone(), by: Whose::Policy };
                    findings.extend(reasons.into_iter().chain(uncounted).map(finding));
                    complete = false;
                    continue;
                }
            },
        };
        programs.insert(program.name.clone(), ground);
    }

    // The set as a whole.
    let case = set_case(fetched, asked);
    let waiver = policy.waived_set(&asked.set);
    let set = match weigh_on(policy, &case, today) {
        Ok(believed) => Some(Ground::Signed(believed)),
        Err(reasons) => {
            let own =
                |name: &ProgramName, ground: Option<Ground>| ground.or_else(|| excused(policy.waived_program(name)));
            let by_programs: Option<BTreeMap<_, _>> =
                programs.iter().map(|(name, ground)| Some((name.clone(), Some(own(name, ground.clone())?)))).collect();
            match by_programs {
                _ if by_hand && waiver.is_some() => excused(waiver),
                Some(each) if by_hand && complete && !each.is_empty() => {
                    programs = each;
                    Some(Ground::ByItsPrograms)
                }
                _ => {
                    let uncounted = waiver.map(|because| Reason::WaiverNotCounted { because: because.to_owned() });
                    findings.extend(reasons.into_iter().chain(uncounted).map(set_finding));
                    None
                }
            }
        }
    };
    let programs = programs.into_iter().map(|(name, ground)| (name, ground.unwrap_or(Ground::BySet))).collect();
    Some((set.filter(|_| complete)?, programs))
}

/// The demands of the set's own trust block: where it has a scope, that scope must be satisfied too.
fn narrowing(fetched: &FetchedBundle, asked: &Asked, today: Date, findings: &mut Vec<Finding>) -> Vec<Believed> {
    let Some(block) = &fetched.config.trust else { return Vec::new() };
    let own = match Policy::new(block) {
        Ok(own) => own,
        Err(error) => {
            let why = error.problems.first().map(ToString::to_string).unwrap_or_default();
            findings.push(Finding { reason: Reason::OwnBlockUnusable { why }, about: About::Set, by: Whose::SetsOwn });
            return Vec::new();
        }
    };
    narrowed(&own, Whose::SetsOwn, fetched, asked, today, findings)
}

/// The demands of `own` on the set and on each image in it: where it has a scope, that scope must be satisfied too.
fn narrowed(
    own: &Policy,
    by: Whose,
    fetched: &FetchedBundle,
    asked: &Asked,
    today: Date,
    findings: &mut Vec<Finding>,
) -> Vec<Believed> {
    let mut cases = vec![(About::Set, set_case(fetched, asked))];
    for program in &fetched.config.programs {
        // An image that doesn't travel along was reported under the deciding policy.
        if let Ok(Some(case)) = image_case(fetched, program) {
            cases.push((About::Program(program.name.clone()), case));
        }
    }
    let mut narrowed_by = Vec::new();
    for (about, case) in cases {
        if own.scope(case.repository).is_none() {
            continue;
        }
        match weigh_on(own, &case, today) {
            Ok(believed) => narrowed_by.push(believed),
            Err(reasons) => {
                for reason in reasons {
                    // What the deciding policy says already needn't be heard twice.
                    if !findings.iter().any(|known| known.about == about && known.reason == reason) {
                        findings.push(Finding { reason, about: about.clone(), by });
                    }
                }
            }
        }
    }
    narrowed_by
}

fn set_case<'a>(fetched: &'a FetchedBundle, asked: &'a Asked) -> Case<'a> {
    Case {
        repository: asked.repository.as_ref().unwrap_or(&fetched.config.repository),
        version: Some(asked.version.as_ref().unwrap_or(&fetched.config.version)),
        signed: &fetched.signed,
        signatures: &fetched.signatures,
    }
}

/// The case of the image that a program comes from; `None` where it comes from the set's own files.
///
/// The bundler has matched the program's object with the image behind the digest.
fn image_case<'a>(fetched: &'a FetchedBundle, program: &'a BundledProgram) -> Result<Option<Case<'a>>, Reason> {
    let ProgramOrigin::Image { repository, version, digest } = &program.origin else { return Ok(None) };
    let carried = fetched.images.iter().find(|image| image.program == program.name && image.digest == *digest);
    let carried = carried.filter(|image| image.signed.contains(digest));
    let Some(image) = carried else {
        let why = "the image is not there to be checked".to_owned();
        return Err(Reason::OriginUnproven { repository: repository.clone(), why });
    };
    Ok(Some(Case { repository, version: version.as_ref(), signed: &image.signed, signatures: &image.signatures }))
}

/// The rules of counting.
fn weigh_on(policy: &Policy, case: &Case<'_>, today: Date) -> Result<Believed, Vec<Reason>> {
    let Some((name, scope)) = policy.scope(case.repository) else {
        return Err(vec![Reason::NoScope { repository: case.repository.clone() }]);
    };
    let about_it = || case.signatures.iter().filter(|one| case.signed.contains(&one.subject));
    if about_it().next().is_none() {
        return Err(vec![Reason::NoSignature]);
    }

    let keys = policy.keys();
    let mut reasons = Vec::new();
    // Sets of key material: whoever signs twice is there once.
    let mut counted: BTreeMap<Role, BTreeSet<Digest>> = BTreeMap::new();
    for one in about_it() {
        let genuine = match signature::check(&one.bytes, one.subject, &keys) {
            Ok(genuine) => genuine,
            Err(why) => {
                reasons.push(Reason::of_signature(why, |digest| policy.key(digest).map(|known| known.name.clone())));
                continue;
            }
        };
        let Some(signer) = policy.key(&genuine.key) else { continue };
        let mut against = claims_against(&genuine.annotations, scope.claims, case, signer);
        if let Some(not_after) = signer.not_after.filter(|last| *last < today) {
            against.push(Reason::KeyExpired { key: signer.name.clone(), not_after });
        }
        let claimed = genuine.annotations.get(ANNOTATION_ROLE);
        let may_count = |role: &Role| claimed.is_none_or(|claimed| claimed == role.as_str());
        let held = |role: &Role| scope.quorums.get(role).is_some_and(|quorum| quorum.from.contains(&genuine.key));
        let roles: Vec<Role> = Role::ALL.into_iter().filter(|role| may_count(role) && held(role)).collect();
        if roles.is_empty() {
            let claimed = claimed.map(|claimed| bpfkit_bundler::json::printable(claimed));
            against.push(Reason::RoleNotHeld { key: signer.name.clone(), claimed, scope: name.clone() });
        }
        if against.is_empty() {
            for role in roles {
                counted.entry(role).or_default().insert(genuine.key);
            }
        }
        reasons.append(&mut against);
    }

    let mut short = Vec::new();
    let mut roles = BTreeMap::new();
    for (role, quorum) in &scope.quorums {
        let keys = counted.remove(role).unwrap_or_default();
        if keys.len() < quorum.need {
            short.push(Reason::TooFewSigners { role: *role, have: keys.len(), need: quorum.need, scope: name.clone() });
        }
        let signers = keys.iter().filter_map(|digest| policy.key(digest));
        let signers = signers.map(|known| Signer {
            name: known.name.clone(),
            key: known.key.spki_digest(),
            not_after: known.not_after,
        });
        roles.insert(*role, Met { need: quorum.need, signers: signers.collect() });
    }
    if short.is_empty() && !roles.is_empty() {
        let until = roles.values().filter_map(Met::until).min();
        Ok(Believed { repository: case.repository.clone(), version: case.version.cloned(), scope: name, roles, until })
    } else {
        reasons.append(&mut short);
        reasons.sort();
        reasons.dedup();
        Err(reasons)
    }
}

/// What a signature says about place and version, against what it should.
fn claims_against(
    annotations: &BTreeMap<String, String>,
    demanded: Claims,
    case: &Case<'_>,
    signer: &crate::policy::PolicyKey,
) -> Vec<Reason> {
    let key = || signer.name.clone();
    let shown = |text: &String| bpfkit_bundler::json::printable(text);
    let mut against = Vec::new();
    let mut missing = Vec::new();
    match annotations.get(ANNOTATION_REPOSITORY) {
        None => missing.push(ANNOTATION_REPOSITORY),
        Some(named) if named == case.repository.as_str() => {}
        Some(named) => {
            let wanted = case.repository.clone();
            against.push(Reason::WrongRepository { key: Some(key()), signed_for: shown(named), wanted });
        }
    }
    match (annotations.get(ANNOTATION_VERSION), case.version) {
        (None, _) => missing.push(ANNOTATION_VERSION),
        (Some(named), Some(wanted)) if named != wanted.as_str() => {
            against.push(Reason::WrongVersion { key: Some(key()), signed_for: shown(named), wanted: wanted.clone() });
        }
        (Some(_), _) => {}
    }
    // `digest_only` excuses silence, not a wrong word.
    if demanded == Claims::Bound && !missing.is_empty() {
        against.push(Reason::MissingClaims { key: key(), missing });
    }
    against
}

#[cfg(test)]
mod tests;
