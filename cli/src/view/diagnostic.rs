//! A problem as people read it.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};
use bpfkit_schemas::{Diagnostic, Severity, diagnostic::Source};

use super::tame;

/// Draws one problem, its places included. Ends with an empty line.
pub(crate) fn render(problem: &Diagnostic, colour: bool) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (title, help) = (tame(&problem.title), problem.help.as_deref().map(tame));
    let causes: Vec<_> = problem.causes.iter().map(|text| tame(text)).collect();
    let notes: Vec<_> = problem.notes.iter().map(|text| tame(text)).collect();
    let mut group = Group::with_title(level.primary_title(title.as_str()).id(problem.code.as_str()));
    let mut sources: Vec<&Source> = Vec::new();
    for label in &problem.labels {
        if !sources.iter().any(|s| s.name == label.source.name) {
            sources.push(&label.source);
        }
    }
    for source in sources {
        let labels = problem.labels.iter().filter(|l| l.source.name == source.name);
        let annotations = labels.enumerate().map(|(index, label)| {
            let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            kind.span(label.span.range()).label(label.text.as_str())
        });
        group =
            group.element(Snippet::source(source.text.as_str()).path(source.name.as_str()).annotations(annotations));
    }
    for cause in &causes {
        group = group.element(Level::NOTE.with_name("because").message(cause.as_str()));
    }
    for note in &notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut text = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
    text.push_str("\n\n");
    text
}
