//! The real cosign signs, through a real registry, and `bpfkit verify` says whether that counts.

use bpfkit_tests::skip::skip;

use crate::{
    document::codes_for_people,
    registry::Registry,
    sandbox::{copy_of, outside},
};

const COSIGN: &str = r#"
cosign_sign() { cosign sign --allow-http-registry --tlog-upload=false --use-signing-config=false -y --key keys/ana.key "$@"; }
export COSIGN_PASSWORD=test
"#;

/// The project, pushed unsigned to a registry of its own; its repository there, and every digest that a signer has to sign.
fn pushed() -> Option<(Registry, tempfile::TempDir, String)> {
    let cosign = bpfkit_tests::tool("cosign");
    if !cosign.is_file() {
        skip("interop", "no cosign: tools/setup unpacks it");
        return None;
    }
    let registry = Registry::start();
    let project = copy_of("tests/attacks/project");
    let place = format!("{}/acme", registry.host());
    let said = outside(
        project.path(),
        &format!(
            "set -e; sed -i 's|oci:./dist|{place}|; s|local/edge:|{place}/edge:|' bpfkit.yml; mkdir keys; bpfkit trust keygen -q --output keys/ana
            bpfkit bundle -q --tag 1; bpfkit push -q; digest=$(jq -r .digest .bpfkit/bundle.json)
            echo \"{place}/edge@$digest\" >set; jq -r .manifests[0].digest .bpfkit/oci/blobs/sha256/${{digest#sha256:}} | sed 's|^|{place}/edge@|' >manifest"
        ),
    );
    assert_eq!(said.code, Some(0), "{said}");
    Some((registry, project, format!("{place}/edge")))
}

#[test]
fn what_cosign_signs_for_a_repository_and_a_version_is_accepted() {
    let Some((_registry, project, repository)) = pushed() else { return };
    let refused = outside(project.path(), &format!("bpfkit verify {repository}:1 --key keys/ana.pub"));
    assert_eq!(
        (codes_for_people(&refused).into_iter().collect::<Vec<_>>(), refused.code),
        (vec!["T003".to_owned()], Some(4))
    );
    let signed = outside(
        project.path(),
        &format!("{COSIGN} cosign_sign -a dev.bpfkit.repository={repository} -a dev.bpfkit.version=1 $(cat set)"),
    );
    assert_eq!(signed.code, Some(0), "{signed}");
    let said = outside(project.path(), &format!("bpfkit verify {repository}:1 --key keys/ana.pub"));
    assert_eq!(said.code, Some(0), "{said}");
    assert!(said.stdout.contains("signed for"), "{said}");
}

#[test]
fn what_cosign_signs_for_another_repository_is_refused() {
    let Some((_registry, project, repository)) = pushed() else { return };
    let annotations = "-a dev.bpfkit.repository=registry.example/other -a dev.bpfkit.version=1";
    let signed = outside(project.path(), &format!("{COSIGN} cosign_sign {annotations} $(cat set)"));
    assert_eq!(signed.code, Some(0), "{signed}");
    let said = outside(project.path(), &format!("bpfkit verify {repository}:1 --key keys/ana.pub"));
    assert_eq!(said.code, Some(4), "{said}");
    assert!(codes_for_people(&said).contains("T005"), "{said}");
}

#[test]
fn what_cosign_signs_without_saying_for_what_is_refused_with_a_code_of_its_own() {
    let Some((_registry, project, repository)) = pushed() else { return };
    let signed = outside(project.path(), &format!("{COSIGN} cosign_sign $(cat set)"));
    assert_eq!(signed.code, Some(0), "{signed}");
    let said = outside(project.path(), &format!("bpfkit verify {repository}:1 --key keys/ana.pub"));
    assert_eq!(said.code, Some(4), "{said}");
    assert!(codes_for_people(&said).contains("T007"), "{said}");
}

#[test]
fn cosign_verifies_what_bpfkit_signs() {
    let Some((_registry, project, repository)) = pushed() else { return };
    let verify = format!(
        "cosign verify --allow-http-registry --insecure-ignore-tlog --key keys/ana.pub -a dev.bpfkit.version=1 -a dev.bpfkit.repository={repository} $(cat set)"
    );
    assert_ne!(outside(project.path(), &verify).code, Some(0), "nothing is signed yet");
    let signed = outside(project.path(), "bpfkit sign --key keys/ana.key && bpfkit push");
    assert_eq!(signed.code, Some(0), "{signed}");
    let said = outside(project.path(), &verify);
    assert_eq!(said.code, Some(0), "{said}");
}
