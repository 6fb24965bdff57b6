//! Compiled models: opening one, and what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hanc_runtime::Model;
use hanc_runtime::file::{Problem, is_hanc};
use hanc_runtime::plan::Port;
use serde_json::{Value, json};

use super::text::{self, bytes, short};
use super::ui::Ui;
use crate::error::Failure;
use crate::output::grouped;

/// The compiled model of this name; none where it is another kind of file.
pub(super) fn open(name: &str, ui: &Ui) -> Result<Option<Model>, Failure> {
    let path = Path::new(name);
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("hanc"));
    if name.starts_with("zoo:") || !(named || is_hanc(path)) {
        return Ok(None);
    }
    match Model::open_with(path, &ui.compiled_limits) {
        Ok(model) => Ok(Some(model)),
        Err(error) if !named && matches!(error.problem, Problem::NotHanc(_)) => Ok(None),
        Err(error) => Err(Failure::at(name, &error)),
    }
}

/// The numbers of a compiled model.
pub(super) struct Summary<'a> {
    name: &'a str,
    model: &'a Model,
    file_bytes: u64,
}

impl<'a> Summary<'a> {
    /// Of the model in the file of this name.
    pub fn new(name: &'a str, model: &'a Model) -> Summary<'a> {
        Summary { name, model, file_bytes: std::fs::metadata(name).map_or(0, |meta| meta.len()) }
    }

    /// Number and bytes of the weights, each counted once.
    fn weights(&self) -> (usize, u64) {
        let parts =
            self.model.weights().values().map(|weight| (weight.bytes().as_ptr() as usize, weight.bytes().len()));
        let parts: BTreeSet<_> = parts.collect();
        (parts.len(), parts.iter().map(|(_, len)| *len as u64).sum())
    }

    /// Calls by kernel.
    fn kernels(&self) -> BTreeMap<&str, u64> {
        let mut count = BTreeMap::new();
        self.model.plan().steps.iter().for_each(|step| *count.entry(step.kernel.as_str()).or_default() += 1);
        count
    }

    /// For a person.
    pub fn text(&self, ui: &Ui) -> String {
        let (plan, (count, size)) = (self.model.plan(), self.weights());
        let head = format!(
            "{}: {} steps, {} weights of {}, {} in all",
            ui.paint.bold(&text::clean(self.name)),
            short(plan.steps.len() as f64),
            grouped(count as u64),
            bytes(size),
            bytes(self.file_bytes)
        );
        let row = |what: &str, port: &Port| vec![what.to_owned(), text::name(&plan.describe(port), 90)];
        let ports = plan.inputs.iter().map(|port| row("input", port));
        let ports: Vec<_> = ports.chain(plan.outputs.iter().map(|port| row("output", port))).collect();
        let mut kernels: Vec<_> = self.kernels().into_iter().collect();
        kernels.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        let kernels: Vec<_> = kernels.iter().map(|(name, count)| vec![(*name).to_owned(), count.to_string()]).collect();
        let parts = [head, self.origin(ui), text::plain(&ports), text::table(&["kernel", ">calls"], &kernels)];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn origin(&self, ui: &Ui) -> String {
        let metadata = self.model.metadata();
        let said = |key: &str| metadata.get(key).map(|text| text::name(text, 60));
        let parts = [said("hanc.producer"), said("hanc.source").map(|source| format!("from {source}"))];
        ui.paint.dim(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }

    /// For a program.
    pub fn json(&self) -> Value {
        let (plan, (count, size)) = (self.model.plan(), self.weights());
        let shape = |port: &Port| {
            let (extents, symbol) = (&plan.slots[port.slot].shape, |at: usize| &plan.symbols[at]);
            let size = |e: &hanc_runtime::plan::Extent| match e.symbol {
                None => json!(e.factor),
                Some(at) if e.factor == 1 => json!(symbol(at)),
                Some(at) => json!(format!("{}*{}", e.factor, symbol(at))),
            };
            extents.iter().map(size).collect::<Vec<_>>()
        };
        let describe =
            |port: &Port| json!({"name": port.name, "dtype": plan.slots[port.slot].dtype.name(), "shape": shape(port)});
        json!({
            "path": self.name,
            "bytes": self.file_bytes,
            "steps": plan.steps.len(),
            "weights": {"count": count, "bytes": size},
            "kernels": self.kernels(),
            "free": plan.symbols,
            "inputs": plan.inputs.iter().map(describe).collect::<Vec<_>>(),
            "outputs": plan.outputs.iter().map(describe).collect::<Vec<_>>(),
            "metadata": self.model.metadata(),
        })
    }
}
