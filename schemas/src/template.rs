//! Templates in scalars: `{{ vars.name }}` and `{{ host.name }}`, in a small part of minijinja's language.
//!
//! Pure. Only whole scalar values are templates, rendered after YAML was read, so
//! that every value keeps its place. An undefined variable is an error, never an
//! empty string.
//!
//! A bundle's templates are somebody else's text and are rendered as root, so that what
//! could grow is left out: there are expressions and no statements (`{% … %}`), no `*`
//! (which repeats strings), no functions, and of the filters `lower`, `upper`, `trim` and
//! `default` alone. What is left can only join what is there.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, context};

/// What a host knows of itself. The caller reads it; templates name it `host`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostFacts {
    /// The host's name (`uname -n`).
    pub name: String,
    /// OCI's name of its architecture: `amd64`.
    pub arch: String,
    /// The kernel's release (`uname -r`).
    pub kernel: String,
}

/// How much a template may do: minijinja's instructions, roughly.
const FUEL: u64 = 10_000;
/// The longest text that a template may render to, in bytes.
const MAX_RENDERED: usize = 64 * 1024;

/// Why a template gave nothing: one line, as minijinja says it or as we do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// Whether a scalar is a template at all.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Whether a template asks for host facts. A template that can't be parsed does not.
pub fn mentions_host(text: &str) -> bool {
    environment().template_from_str(text).is_ok_and(|t| t.undeclared_variables(false).contains("host"))
}

/// Checks that a template can be parsed and names nothing but `vars` that exist and `host`'s fields.
pub fn check(text: &str, vars: &BTreeMap<String, String>) -> Result<(), TemplateError> {
    let known = HostFacts { name: "x".into(), arch: "x".into(), kernel: "x".into() };
    render_host(text, vars, &known).map(drop)
}

/// Renders a template that knows `vars` alone.
pub fn render(text: &str, vars: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    run(text, &context! { vars => vars })
}

/// Renders a template that knows `vars` and the host.
pub fn render_host(text: &str, vars: &BTreeMap<String, String>, host: &HostFacts) -> Result<String, TemplateError> {
    run(
        text,
        &context! { vars => vars, host => context! { name => &host.name, arch => &host.arch, kernel => &host.kernel } },
    )
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("lower", minijinja::filters::lower);
    environment.add_filter("upper", minijinja::filters::upper);
    environment.add_filter("trim", minijinja::filters::trim);
    environment.add_filter("default", minijinja::filters::default);
    environment
}

fn run(text: &str, values: &minijinja::Value) -> Result<String, TemplateError> {
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    refuse_growth(text)?;
    let environment = environment();
    let rendered =
        environment.template_from_str(text).and_then(|t| t.render(values)).map_err(|e| explain(text, values, &e))?;
    if rendered.len() > MAX_RENDERED {
        return Err(TemplateError(format!("it renders to {} bytes; {MAX_RENDERED} are allowed", rendered.len())));
    }
    Ok(rendered)
}

/// Refuses the parts of the language with which a short text makes a long one.
fn refuse_growth(text: &str) -> Result<(), TemplateError> {
    if text.contains("{%") {
        return Err(TemplateError("statements (`{% … %}`) are not read, only expressions (`{{ … }}`)".to_owned()));
    }
    let expressions = text.split("{{").skip(1).map(|rest| rest.split_once("}}").map_or(rest, |(inside, _)| inside));
    if expressions.into_iter().any(|expression| expression.contains('*')) {
        return Err(TemplateError("`*` is not read in a template".to_owned()));
    }
    Ok(())
}

/// Names the variable that is missing, which minijinja's own message leaves out.
fn explain(text: &str, values: &minijinja::Value, error: &minijinja::Error) -> TemplateError {
    if error.kind() == minijinja::ErrorKind::UndefinedError
        && let Ok(template) = environment().template_from_str(text)
    {
        let mut missing: Vec<_> =
            template.undeclared_variables(true).into_iter().filter(|name| !is_defined(values, name)).collect();
        missing.sort();
        if let Some(name) = missing.first() {
            return TemplateError(format!("`{name}` is not defined"));
        }
    }
    TemplateError(error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned))
}

fn is_defined(values: &minijinja::Value, path: &str) -> bool {
    let mut value = values.clone();
    for part in path.split('.') {
        match value.get_attr(part) {
            Ok(next) if !next.is_undefined() => value = next,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> BTreeMap<String, String> {
        [("uplink".to_owned(), "eth0".to_owned())].into()
    }

    #[test]
    fn variables_are_filled_in_and_other_text_is_left_alone() {
        assert_eq!(render("{{ vars.uplink }}.7", &vars()).unwrap(), "eth0.7");
        assert_eq!(render("plain", &vars()).unwrap(), "plain");
    }

    #[test]
    fn an_undefined_variable_is_named() {
        assert_eq!(render("{{ vars.downlink }}", &vars()).unwrap_err().0, "`vars.downlink` is not defined");
        assert_eq!(render("{{ host.name }}", &vars()).unwrap_err().0, "`host.name` is not defined");
        assert_eq!(check("{{ host.nmae }}", &vars()).unwrap_err().0, "`host.nmae` is not defined");
    }

    #[test]
    fn host_facts_are_recognised_wherever_they_stand() {
        assert!(mentions_host("{{ 'a' if host.arch == 'amd64' else 'b' }}"));
        assert!(!mentions_host("{{ vars.host }}"));
    }

    #[test]
    fn nothing_that_could_make_a_long_text_of_a_short_one_is_read() {
        for text in [
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            "{{ 'x' | indent(99000000000) }}",
            "{{ '%0900000000d' | format(1) }}",
            "{{ 'x' * 99000000000 }}",
            "{{ range(99000000000) }}",
            "{{ vars.uplink | replace('', 'xxxxxxxx') }}",
            "{{ vars.uplink | center(99000000000) }}",
        ] {
            assert!(render(text, &vars()).is_err(), "{text}");
        }
        assert_eq!(render("{{ vars.uplink | upper }}*", &vars()).unwrap(), "ETH0*");
        assert_eq!(render("{{ vars.downlink | default('eth1') }}", &vars()).unwrap(), "eth1");
    }
}
