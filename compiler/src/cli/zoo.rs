//! `hanc zoo`

use std::path::PathBuf;

use clap::Args;
use hanc_models::{Blueprint, Entry, Storage};
use serde_json::{Value, json};

use super::{Outcome, text, ui::Ui};
use crate::error::Failure;
use crate::output::grouped;

/// Writes one of the paper's models as ONNX, freshly initialised; without a name, lists them.
#[derive(Debug, Args)]
pub(super) struct Zoo {
    /// A model with its options, `stem-mixer,mlp=2,han=16`
    name: Option<String>,
    /// File to write
    #[arg(long, short, value_name = "OUT", requires = "name")]
    output: Option<PathBuf>,
    /// Keep the weights in a second file, OUT.data
    #[arg(long, requires = "output")]
    external_data: bool,
}

impl Zoo {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        let Some(name) = &self.name else { return list() };
        let name = name.strip_prefix("zoo:").unwrap_or(name);
        let plan = plan(name, ui)?;
        match &self.output {
            None => about(name, &plan),
            Some(output) => self.write(name, &plan, output),
        }
    }

    fn write(&self, name: &str, plan: &Blueprint, output: &PathBuf) -> Result<Outcome, Failure> {
        let storage = if self.external_data { Storage::External } else { Storage::Auto };
        super::writable(output)?;
        crate::output::announce(output);
        plan.write(output, storage).map_err(|e| Failure::at(output.display().to_string(), &e))?;
        let parameters = grouped(plan.parameters());
        let text =
            format!("{}: {name}, {parameters} parameters, {}", output.display(), text::bytes(plan.weight_bytes()));
        let json = json!({"output": output, "model": name, "parameters": plan.parameters()});
        Ok(Outcome::new(text, json))
    }
}

/// The model of a text such as `stem-mixer,mlp=2`; the seed is the run's where the text has none.
pub(super) fn plan(spec: &str, ui: &Ui) -> Result<Blueprint, Failure> {
    let named = spec.split(',').any(|option| option.trim_start().starts_with("seed="));
    let spec = match ui.given_seed {
        Some(seed) if !named => format!("{spec},seed={seed}"),
        _ => spec.to_owned(),
    };
    hanc_models::plan(&spec).map_err(|e| Failure::at(format!("zoo:{spec}"), &e))
}

fn list() -> Result<Outcome, Failure> {
    let models = hanc_models::list().iter().map(|entry| Ok((entry, hanc_models::plan(entry.name)?)));
    let models: Vec<_> = models.collect::<Result<_, _>>().map_err(|e: hanc_models::Error| Failure::at("zoo", &e))?;
    let line = |(entry, plan): &(&Entry, Blueprint)| {
        vec![entry.name.to_owned(), grouped(plan.parameters()), inputs(plan), entry.doc.to_owned()]
    };
    let rows: Vec<_> = models.iter().map(line).collect();
    let table = text::table(&["name", ">parameters", "input", "what it is"], &rows);
    let text =
        format!("{table}\n\n`hanc zoo NAME` lists the options of one, `hanc zoo NAME,option=value -o OUT` writes it.");
    let json: Vec<_> = models.iter().map(|(entry, plan)| describe(entry, plan)).collect();
    Ok(Outcome::new(text, json!({"models": json})))
}

fn about(name: &str, plan: &Blueprint) -> Result<Outcome, Failure> {
    let bare = name.split(',').next().unwrap_or_default().trim();
    let entry = hanc_models::list().iter().find(|entry| entry.name == bare);
    let entry = entry.ok_or_else(|| Failure::new("E108", bare, "there is no such model"))?;
    let rows: Vec<_> =
        entry.all_options().map(|o| vec![o.name.to_owned(), o.default.to_owned(), o.doc.to_owned()]).collect();
    let head = format!("{name}: {}\n{} parameters, input {}", entry.doc, grouped(plan.parameters()), inputs(plan));
    let text = format!("{head}\n\n{}", text::table(&["option", "default", "what it sets"], &rows));
    Ok(Outcome::new(text, describe(entry, plan)))
}

fn describe(entry: &Entry, plan: &Blueprint) -> Value {
    let options = entry.all_options().map(|o| json!({"name": o.name, "default": o.default, "doc": o.doc}));
    // A size is a number, or the name of one that is free, as in `inspect --json`.
    let size = |text: String| text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
    let shape = |shape: Vec<String>| shape.into_iter().map(size).collect::<Vec<_>>();
    let inputs = plan.inputs().into_iter().map(|(name, sizes)| json!({"name": name, "shape": shape(sizes)}));
    json!({
        "name": entry.name,
        "doc": entry.doc,
        "parameters": plan.parameters(),
        "inputs": inputs.collect::<Vec<_>>(),
        "options": options.collect::<Vec<_>>(),
    })
}

fn inputs(plan: &Blueprint) -> String {
    let inputs = plan.inputs().into_iter().map(|(_, shape)| format!("[{}]", shape.join(", ")));
    inputs.collect::<Vec<_>>().join(" ")
}
