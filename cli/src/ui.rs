//! Where output goes: data to stdout, talk to stderr, colour only where it helps.

use std::io::{IsTerminal as _, Write as _};

use anstream::ColorChoice;
use bpfkit_schemas::{Diagnostic, Severity, report::ProblemsReport};
use serde::Serialize;

use crate::{
    args::{Colour, Global},
    failure::{Failure, Result},
    progress::Progress,
    view,
};

/// How this run talks.
pub(crate) struct Ui {
    json: bool,
    quiet: bool,
    verbose: bool,
    colour: ColorChoice,
}

impl Ui {
    /// As the global arguments say.
    pub(crate) fn new(global: &Global) -> Self {
        let colour = match global.color {
            Colour::Auto => ColorChoice::Auto,
            Colour::Always => ColorChoice::Always,
            Colour::Never => ColorChoice::Never,
        };
        colour.write_global();
        Self { json: global.json, quiet: global.quiet, verbose: global.verbose, colour }
    }

    /// Whether what goes to stderr may have colour.
    pub(crate) fn has_colour(&self) -> bool {
        match self.colour {
            ColorChoice::Always | ColorChoice::AlwaysAnsi => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => anstream::AutoStream::choice(&std::io::stderr()) != ColorChoice::Never,
        }
    }

    /// Prints data. A closed pipe (`bpfkit … | head`) ends the output, not the command.
    pub(crate) fn data(text: &str) {
        let mut out = anstream::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Prints data in its JSON form if that was asked for, else its human form.
    pub(crate) fn show<T: Serialize>(&self, json: &T, human: impl FnOnce() -> String) -> Result<()> {
        if !self.json {
            Self::data(&view::tame(&human()));
            return Ok(());
        }
        let mut text = serde_json::to_string_pretty(json)
            .map_err(|e| Failure::usage(format!("the output can't be written as JSON: {e}"), "report this as a bug"))?;
        text.push('\n');
        Self::data(&text);
        Ok(())
    }

    /// Says something on stderr.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// Says something on stderr if more is to be said.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            self.say(text);
        }
    }

    /// Passes another program's words on, as they are.
    pub(crate) fn pass_on(bytes: &[u8]) {
        let _ = anstream::stderr().write_all(bytes);
    }

    /// Shows problems: on stderr for people, on stdout as JSON.
    pub(crate) fn diagnostics(&self, problems: &[Diagnostic]) {
        let shown: Vec<_> = problems.iter().filter(|p| p.severity == Severity::Error || !self.quiet).collect();
        if shown.is_empty() {
            return;
        }
        if self.json {
            let mut text = serde_json::to_string_pretty(&ProblemsReport::of(shown.iter().copied())).unwrap_or_default();
            text.push('\n');
            if shown.iter().all(|p| p.severity == Severity::Warning) {
                // Warnings beside data must not break the one JSON value on stdout.
                Self::pass_on(text.as_bytes());
            } else {
                Self::data(&text);
            }
            return;
        }
        let colour = self.has_colour();
        for problem in shown {
            Self::pass_on(view::diagnostic::render(problem, colour).as_bytes());
        }
    }

    /// Shows problems of which data has been printed already: on stderr for people; with `--json` that data has them.
    pub(crate) fn beside_data(&self, problems: &[Diagnostic]) {
        if !self.json {
            self.diagnostics(problems);
        }
    }

    /// A line that moves, for what takes longer than a second; nothing where stderr is no terminal.
    pub(crate) fn progress(&self, what: &str) -> Progress {
        Progress::start(what, !self.quiet && !self.json && std::io::stderr().is_terminal())
    }
}
