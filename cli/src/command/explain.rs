//! `bpfkit explain`: the long form of an error code.

use bpfkit_schemas::{Code, code::Exit, manifest::nearest};
use serde::Serialize;

use crate::{
    args::Explain,
    failure::{Failure, Result},
    ui::Ui,
};

#[derive(Serialize)]
struct Explained {
    code: &'static str,
    title: &'static str,
    explanation: &'static str,
    exit: u8,
}

#[derive(Serialize)]
struct Explanations {
    version: u32,
    codes: Vec<Explained>,
}

pub(super) fn run(args: &Explain, ui: &Ui) -> Result<Exit> {
    let codes: Vec<Code> = match &args.code {
        None => Code::all().collect(),
        Some(text) => vec![Code::find(text).ok_or_else(|| unknown(text))?],
    };
    let explained = codes.iter().map(|c| Explained {
        code: c.as_str(),
        title: c.title(),
        explanation: c.explanation(),
        exit: c.exit() as u8,
    });
    let json = Explanations { version: 1, codes: explained.collect() };
    ui.show(&json, || match (codes.as_slice(), &args.code) {
        ([code], Some(_)) => format!(
            "{code}: {}\n\n{}\n\nA command that ends with this exits with {}.\n",
            code.title(),
            code.explanation(),
            code.exit() as u8
        ),
        _ => codes.iter().map(|code| format!("{code}  {}\n", code.title())).collect(),
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
