//! `bpfkit explain`: the long form of an error code.

use bpfkit_schemas::{
    Code,
    code::Exit,
    names::nearest,
    report::{CodeReport, ExplainReport, VERSION},
};

use crate::{
    args::Explain,
    failure::{Failure, Result},
    ui::Ui,
    view,
};

pub(super) fn run(args: &Explain, ui: &Ui) -> Result<Exit> {
    let codes: Vec<Code> = match &args.code {
        None => Code::all().collect(),
        Some(text) => vec![Code::find(text).ok_or_else(|| unknown(text))?],
    };
    let explained = codes.iter().map(|c| CodeReport {
        code: c.to_string(),
        title: c.title().to_owned(),
        explanation: c.explanation().to_owned(),
        exit: c.exit() as u8,
    });
    let json = ExplainReport { version: VERSION, codes: explained.collect() };
    ui.show(&json, || match (codes.as_slice(), &args.code) {
        ([code], Some(_)) => format!(
            "{code}: {}\n\n{}\n\nA command that ends with this exits with {}.\n",
            code.title(),
            code.explanation(),
            code.exit() as u8
        ),
        _ => view::lines(codes.iter().map(|code| format!("{code}  {}", code.title()))),
    })?;
    Ok(Exit::Done)
}

fn unknown(text: &str) -> Failure {
    let names: Vec<_> = Code::all().map(Code::as_str).collect();
    let help = match nearest(&text.to_uppercase(), names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? `bpfkit explain` lists all"),
        None => "`bpfkit explain` lists all".to_owned(),
    };
    Failure::usage(format!("there is no code `{text}`"), help)
}
