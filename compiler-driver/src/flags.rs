//! The compiler flags that a manifest may ask for: an allow-list. Pure but for looking whether a path is in the project.
//!
//! A manifest may be a stranger's, and clang has flags that run code, read other
//! flags, or write files; CVE-2026-24905 (Inspektor Gadget) came in through
//! `cflags`. So what isn't known to be harmless is refused, each flag at its own
//! place, all of them in one run. What passes is one argument each; there is no
//! shell.

use std::path::Path;

use bpfkit_schemas::{Code, Diagnostic, Span, manifest::Manifest};

use crate::{error::Place, project::Project};

/// Said with every refusal.
const ALLOWED: &str = "allowed are -W…, -D…, -U…, -I<folder in the project>, -include <file in the project>, -O1 -O2 -O3 \
                       -Os -Oz, -std=…, -mcpu=v1…v4, -pedantic, -w, -g, and these -f…:";

/// `-f` flags that change the code and nothing else. Each also with `no-` in front, and the other way round.
const CODE_FLAGS: [&str; 16] = [
    "builtin",
    "common",
    "delete-null-pointer-checks",
    "finite-loops",
    "inline-functions",
    "jump-tables",
    "merge-all-constants",
    "ms-extensions",
    "short-enums",
    "signed-char",
    "stack-protector",
    "strict-aliasing",
    "unroll-loops",
    "unsigned-char",
    "vectorize",
    "wrapv",
];

/// The flags as clang gets them, or what is wrong with each that is refused.
pub(crate) fn checked(manifest: &Manifest, project: &Project) -> Result<Vec<String>, Vec<Diagnostic>> {
    let mut passed = Vec::new();
    let mut refused = Vec::new();
    let mut flags = manifest.build.cflags.iter();
    while let Some((flag, span)) = flags.next() {
        let place = |span: Span| Place { source: manifest.source.clone(), span };
        let checked = match flag.as_str() {
            // The value may stand in the next item, as on a command line.
            "-I" | "-D" | "-U" | "-include" => match flags.next() {
                Some((value, value_span)) => one(flag, value, &place(*value_span), project),
                None => Err(refusal(flag, &place(*span), "its value is missing")),
            },
            joined => match joined.get(..2) {
                Some(start @ ("-I" | "-D" | "-U")) => one(start, &joined[2..], &place(*span), project),
                _ if is_harmless(joined) => Ok(vec![joined.to_owned()]),
                _ => Err(refusal(joined, &place(*span), "not on the list")),
            },
        };
        match checked {
            Ok(flags) => passed.extend(flags),
            Err(problem) => refused.push(problem),
        }
    }
    if refused.is_empty() { Ok(passed) } else { Err(refused) }
}

/// A flag with its value.
fn one(flag: &str, value: &str, place: &Place, project: &Project) -> Result<Vec<String>, Diagnostic> {
    match flag {
        "-D" | "-U" => {
            let name = value.split(['=', '(']).next().unwrap_or_default();
            let identifier = !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if identifier && !value.contains(['\n', '\r', '\0']) {
                Ok(vec![format!("{flag}{value}")])
            } else {
                Err(refusal(&format!("{flag}{value}"), place, "not a macro's name"))
            }
        }
        _ => {
            let path = project.inside(Path::new(value), place)?;
            let is_right = if flag == "-I" { path.is_dir() } else { path.is_file() };
            if !is_right {
                let what = if flag == "-I" { "folder" } else { "file" };
                let title = format!("there is no {what} `{value}`, which `{flag}` names");
                return Err(place.error(Code::SOURCE_MISSING, title, "not found"));
            }
            // `-include` takes its value as an argument of its own, and neither value can be read as a flag.
            let value = Project::argument(Path::new(value));
            Ok(if flag == "-I" { vec![format!("-I{value}")] } else { vec![flag.to_owned(), value] })
        }
    }
}

fn is_harmless(flag: &str) -> bool {
    let plain =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '+' | '#'));
    if let Some(warning) = flag.strip_prefix("-W") {
        // A comma passes what follows to another program (`-Wl,`, `-Wa,`, `-Wp,`).
        return plain(warning);
    }
    if let Some(name) = flag.strip_prefix("-f") {
        let name = name.strip_prefix("no-").unwrap_or(name);
        return CODE_FLAGS.contains(&name) || name.strip_prefix("builtin-").is_some_and(plain);
    }
    if let Some(standard) = flag.strip_prefix("-std=") {
        return !standard.is_empty() && standard.chars().all(|c| c.is_ascii_alphanumeric() || c == ':');
    }
    matches!(
        flag,
        "-O1"
            | "-O2"
            | "-O3"
            | "-Os"
            | "-Oz"
            | "-pedantic"
            | "-pedantic-errors"
            | "-w"
            | "-g"
            | "-mcpu=v1"
            | "-mcpu=v2"
            | "-mcpu=v3"
            | "-mcpu=v4"
    )
}

fn refusal(flag: &str, place: &Place, label: &str) -> Diagnostic {
    let names: Vec<String> = CODE_FLAGS.iter().map(|name| format!("-f[no-]{name}")).collect();
    place
        .error(Code::FLAG_REFUSED, format!("the compiler flag `{flag}` is not allowed"), label)
        .help(format!("{ALLOWED} {}", names.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{manifest, project};

    fn check(flags: &[&str]) -> Result<Vec<String>, Vec<Diagnostic>> {
        let mut manifest = manifest("set");
        manifest.build.cflags = flags.iter().map(|flag| ((*flag).to_owned(), Span { start: 3, end: 9 })).collect();
        checked(&manifest, &project())
    }

    #[test]
    fn flags_that_people_use_pass_as_they_are() {
        let flags = [
            "-Wall",
            "-Werror=unused",
            "-Wno-address-of-packed-member",
            "-DX",
            "-DN=1 + 2",
            "-DF(a)=a",
            "-UX",
            "-O3",
            "-std=gnu11",
            "-mcpu=v4",
            "-fno-unroll-loops",
            "-fno-builtin-memcpy",
            "-g",
            "-w",
            "-Isrc",
        ];
        assert_eq!(check(&flags).unwrap(), flags);
        assert_eq!(check(&["-I", "src", "-D", "X=1"]).unwrap(), ["-Isrc", "-DX=1"]);
    }

    #[test]
    fn flags_that_run_code_write_files_or_read_flags_are_refused() {
        for flag in [
            "-fplugin=x.so",
            "-fpass-plugin=x.so",
            "-fplugin-arg-x-y",
            "-Xclang",
            "-load",
            "-B/tmp",
            "-B",
            "@file",
            "-o",
            "-o/etc/x",
            "-wrapper",
            "-specs=x",
            "--config=x",
            "--config",
            "-MF",
            "-MD",
            "-M",
            "-Wl,-x",
            "-Wp,-MD,/etc/x",
            "-Wa,-x",
            "-mllvm",
            "-target",
            "--target=x86_64",
            "-x",
            "-xc++",
            "-E",
            "-S",
            "-save-temps",
            "-fuse-ld=/x",
            "-ffile-prefix-map=/=x",
            "-fmodules",
            "-fcrash-diagnostics-dir=/x",
            "-fdebug-compilation-dir=/x",
            "-isystem",
            "-isystem/x",
            "-iquote",
            "-idirafter",
            "-isysroot",
            "--sysroot=/",
            "-L/x",
            "-lx",
            "-nostdinc",
            "-resource-dir",
            "-O0",
            "-O4",
            "-mcpu=probe",
            "-mcpu=v5",
            "",
            "-",
            "--",
            "src/other.c",
            "-D",
            "-D1X",
            "-D=x",
            "-ivfsoverlay",
            "-frandom-seed=x",
            "-ftime-trace=/x",
            "-fprofile-use=x",
            "-fsanitize=address",
            "-gsplit-dwarf",
            "-W,",
            "-std=",
            "-include",
            "-fno-plugin",
            "-Wno-x,y",
            "-imacros",
            "-I",
        ] {
            let refused = check(&[flag]).unwrap_err();
            assert_eq!(refused[0].code, Code::FLAG_REFUSED, "{flag}");
            assert_eq!(refused[0].labels[0].span, Span { start: 3, end: 9 });
            assert!(refused[0].help.as_ref().unwrap().contains("-W…"));
        }
    }

    #[test]
    fn include_folders_outside_the_project_are_refused() {
        for flag in ["-I/usr/include", "-I..", "-Isrc/../..", "-Iout"] {
            assert_eq!(check(&[flag]).unwrap_err()[0].code, Code::PATH_LEAVES_PROJECT, "{flag}");
        }
        assert_eq!(check(&["-include", "/etc/passwd"]).unwrap_err()[0].code, Code::PATH_LEAVES_PROJECT);
        assert_eq!(check(&["-Inowhere"]).unwrap_err()[0].code, Code::SOURCE_MISSING);
    }

    #[test]
    fn every_bad_flag_is_reported_not_the_first_alone() {
        assert_eq!(check(&["-Wall", "-fplugin=x", "-B/x", "@y"]).unwrap_err().len(), 3);
    }
}
