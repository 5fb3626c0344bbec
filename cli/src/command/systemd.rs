//! `bpfkit systemd`: the unit that restores every set when this host boots.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use bpfkit_schemas::{
    Code, Diagnostic,
    code::Exit,
    report::{UnitReport, VERSION},
};
use tempfile::NamedTempFile;

use super::apply;
use crate::{
    args::{Systemd, UnitDir},
    failure::{Failure, Result},
    ui::Ui,
};

/// The unit's name.
const UNIT: &str = "bpfkit-restore.service";
/// What has it started at boot: `systemctl enable` would make this link.
const WANTS: &str = "sysinit.target.wants";
/// The unit's first line: what says so may be replaced and removed.
const MARK: &str =
    "# Written by `bpfkit systemd install`; changes belong in a drop-in (`systemctl edit bpfkit-restore`).\n";

/// The unit, after its first line. It runs where nftables' own does: before there is a network to protect.
const TEXT: &str = "\
[Unit]
Description=eBPF chains of bpfkit, as they were confirmed last
Documentation=man:bpfkit-apply(1)
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
RequiresMountsFor=/var/lib/bpfkit /etc/bpfkit
ConditionDirectoryNotEmpty=/var/lib/bpfkit
# An interface that isn't there yet is tried again, for two minutes.
StartLimitIntervalSec=10min
StartLimitBurst=24

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=BPFKIT --quiet apply --last --offline
Restart=on-failure
RestartSec=5
# Bad usage and what isn't trusted don't get better by trying again.
RestartPreventExitStatus=2 4
StateDirectory=bpfkit
StateDirectoryMode=0700
RuntimeDirectory=bpfkit
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
# Before Linux 5.11, maps count as locked memory.
LimitMEMLOCK=infinity
CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_SYS_ADMIN CAP_DAC_READ_SEARCH
NoNewPrivileges=yes
ProtectHome=read-only
ProtectClock=yes
ProtectSystem=strict
# No address of any network: this can't reach one.
RestrictAddressFamilies=AF_UNIX AF_NETLINK
LockPersonality=yes
MemoryDenyWriteExecute=yes

[Install]
WantedBy=sysinit.target
";

pub(super) fn run(verb: &Systemd, ui: &Ui) -> Result<Exit> {
    apply::root()?;
    let (changed, change, args) = match verb {
        Systemd::Install(args) => (install(args)?, "written", args),
        Systemd::Remove(args) => (remove(args)?, "removed", args),
    };
    let change = if changed { change } else { "unchanged" };
    let files = [unit(args), link(args)].map(|path| path.display().to_string());
    let report = UnitReport { version: VERSION, files: files.to_vec(), change: change.to_owned() };
    ui.show(&report, || format!("{}: {change}\n", unit(args).display()))?;
    if changed && matches!(verb, Systemd::Install(_)) {
        ui.say("every set of this host is restored at the next boot, before the network is up");
    }
    Ok(Exit::Done)
}

/// Writes the unit and its link, where they aren't as they should be.
fn install(args: &UnitDir) -> Result<bool> {
    let (unit, link) = (unit(args), link(args));
    let bpfkit = std::env::current_exe().map_err(|e| Failure::unreadable(Path::new("/proc/self/exe"), &e))?;
    let wanted = format!("{MARK}{}", TEXT.replace("BPFKIT", &quoted(&bpfkit)?));
    let there = ours(&unit)?;
    let target = Path::new("..").join(UNIT);
    if there.as_deref() == Some(wanted.as_str()) && fs::read_link(&link).is_ok_and(|found| found == target) {
        return Ok(false);
    }
    let write = || -> io::Result<()> {
        let wants = args.dir.join(WANTS);
        fs::create_dir_all(&wants)?;
        let mut builder = tempfile::Builder::new();
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let file: NamedTempFile = builder.tempfile_in(&args.dir)?;
        fs::write(file.path(), &wanted)?;
        file.as_file().sync_all()?;
        file.persist(&unit)?;
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(&target, &link)?;
        fs::File::open(&wants)?.sync_all()?;
        fs::File::open(&args.dir)?.sync_all()
    };
    write().map_err(|e| Failure::unwritable(&unit, &e))?;
    Ok(true)
}

/// Removes the unit and its link. That there are none is no error.
fn remove(args: &UnitDir) -> Result<bool> {
    let (unit, link) = (unit(args), link(args));
    let there = ours(&unit)?.is_some();
    let linked = fs::symlink_metadata(&link).is_ok_and(|found| found.is_symlink());
    // The link first: a link to nothing would be a complaint at each boot.
    for path in [&link, &unit] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::unwritable(path, &error)),
            _ => {}
        }
    }
    // Others may want something of that target, too.
    let _ = fs::remove_dir(args.dir.join(WANTS));
    Ok(there || linked)
}

/// The text of the unit, where there is one; refused where it isn't ours.
fn ours(unit: &Path) -> Result<Option<String>> {
    let text = match fs::read_to_string(unit) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::unreadable(unit, &error)),
    };
    if text.starts_with(MARK) {
        return Ok(Some(text));
    }
    let title = format!("`{}` was not written by bpfkit", unit.display());
    Err(Failure::one(
        Diagnostic::error(Code::UNIT_NOT_OURS, title).help("move it away, or name another folder with `--dir`"),
    ))
}

/// A program's path as a unit takes it: in quotes, with what means something there doubled (systemd.service(5)).
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.contains(|c: char| c.is_control() || c == '"' || c == '\\'));
    let text = text.ok_or_else(|| {
        Failure::usage(format!("`{}` can't stand in a unit", path.display()), "install bpfkit elsewhere")
    })?;
    let escaped = text.replace('%', "%%").replace('$', "$$");
    Ok(if escaped.contains(' ') { format!("\"{escaped}\"") } else { escaped })
}

fn unit(args: &UnitDir) -> PathBuf {
    args.dir.join(UNIT)
}

fn link(args: &UnitDir) -> PathBuf {
    args.dir.join(WANTS).join(UNIT)
}
