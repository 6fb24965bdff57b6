//! `hanc compile`

use std::path::{Path, PathBuf};

use clap::Args;
use hanc_runtime::{Metadata, Model};
use serde_json::json;

use super::compiled::Summary;
use super::model::{self, Loaded};
use super::{Outcome, ui::Ui};
use crate::compile::{Compiled, Halved, Options, compile};
use crate::error::Failure;
use crate::ir::Graph;
use crate::ir::text::{Style, print_styled};

/// Optimises a model and lowers it to a file that the runtime opens and runs. Free sizes stay free.
#[derive(Debug, Args)]
pub(super) struct Compile {
    /// The model
    model: String,
    /// File to write
    #[arg(long, short, value_name = "OUT.hanc")]
    output: PathBuf,
    /// Fix every free first axis of an input
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Fix another free axis, by its name
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// Fix the shape of an input
    #[arg(long, value_name = "INPUT=1x3x224x224")]
    shape: Vec<String>,
    /// Store large weights in half precision, where they fit
    #[arg(long)]
    f16_weights: bool,
    /// Write the graph after each stage, and the plan, to files in this folder
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
}

impl Compile {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        super::writable(&self.output)?;
        let options = self.options()?;
        let model = model::load(&self.model, ui)?;
        let mut dump = Dump::new(self.dump.as_deref())?;
        ui.detail(format!("compiling {}", model.name));
        let compiled = compile(&model.graph, &options, &mut |stage, graph| dump.graph(stage, graph));
        let compiled = compiled.map_err(|e| Failure::at(&*model.name, &e));
        // What was written before a failure helps to understand it.
        dump.finish(compiled.as_ref().ok())?;
        let Compiled { plan, weights, halved } = compiled?;
        let runnable = Model::new(plan, weights).map_err(|e| Failure::at(&*model.name, &e))?;
        let runnable = runnable.with_metadata(origin(&model)?);
        crate::output::announce(&self.output);
        let name = self.output.display().to_string();
        runnable.save(&self.output).map_err(|e| Failure::at(&*name, &e))?;
        // What was written is opened again: the numbers are the file's.
        let written = Model::open(&self.output).map_err(|e| Failure::at(&*name, &e))?;
        Ok(outcome(&Summary::new(&name, &written), halved, ui))
    }

    fn options(&self) -> Result<Options, Failure> {
        Ok(Options {
            batch: self.batch,
            sizes: self.dim.iter().map(|text| size(text)).collect::<Result<_, _>>()?,
            shapes: self.shape.iter().map(|text| shape(text)).collect::<Result<_, _>>()?,
            f16_weights: self.f16_weights,
        })
    }
}

fn size(text: &str) -> Result<(String, usize), Failure> {
    let parsed = text.rsplit_once('=').and_then(|(name, size)| Some((name.to_owned(), size.parse().ok()?)));
    parsed.ok_or_else(|| Failure::new("E101", text, "a size is given as NAME=N"))
}

/// `image=1x3x224x224`; commas do as well, and a scalar has nothing behind the sign.
fn shape(text: &str) -> Result<(String, Vec<usize>), Failure> {
    let parsed = text.rsplit_once('=').and_then(|(name, sizes)| {
        let sizes = sizes.split(['x', ',']).filter(|_| !sizes.is_empty());
        Some((name.to_owned(), sizes.map(|size| size.trim().parse().ok()).collect::<Option<_>>()?))
    });
    parsed.ok_or_else(|| Failure::new("E101", text, "a shape is given as INPUT=1x3x224x224"))
}

/// What the file says of where it comes from.
fn origin(model: &Loaded) -> Result<Metadata, Failure> {
    let source = Path::new(&model.name).file_name().map_or_else(|| model.name.clone(), |n| n.to_string_lossy().into());
    let texts = [
        ("hanc.producer", format!("hanc {}", env!("CARGO_PKG_VERSION"))),
        ("hanc.source", source),
        ("hanc.source.sha256", model.sha256()?),
    ];
    Ok(texts.into_iter().map(|(key, text)| (key.to_owned(), text)).collect())
}

fn outcome(summary: &Summary<'_>, halved: Option<Halved>, ui: &Ui) -> Outcome {
    let (mut text, mut json) = (summary.text(ui), summary.json());
    if let Some(Halved { halved, kept }) = halved {
        text += &format!("\n{halved} weights are stored in half precision, {kept} stay as they are");
        json["f16_weights"] = json!({"halved": halved, "kept": kept});
    }
    Outcome::new(text, json)
}

/// The folder of `--dump`.
struct Dump<'a> {
    folder: Option<&'a Path>,
    count: usize,
    failure: Option<Failure>,
}

impl<'a> Dump<'a> {
    fn new(folder: Option<&'a Path>) -> Result<Dump<'a>, Failure> {
        let made = folder.map_or(Ok(()), std::fs::create_dir_all);
        made.map_err(|e| unwritable(folder.unwrap_or(Path::new("")), &e))?;
        Ok(Dump { folder, count: 0, failure: None })
    }

    fn graph(&mut self, stage: &str, graph: &Graph) {
        self.file(&format!("{stage}.txt"), || print_styled(graph, Style { elide: true }));
    }

    fn file(&mut self, name: &str, text: impl FnOnce() -> String) {
        let Some(folder) = self.folder.filter(|_| self.failure.is_none()) else { return };
        let path = folder.join(format!("{:02}-{name}", self.count));
        self.count += 1;
        self.failure = std::fs::write(&path, text()).err().map(|e| unwritable(&path, &e));
    }

    /// Writes the plan, if there is one; tells what could not be written.
    fn finish(mut self, compiled: Option<&Compiled>) -> Result<(), Failure> {
        if let Some(compiled) = compiled {
            let plan = || serde_json::to_string_pretty(&compiled.plan.json()).unwrap_or_default() + "\n";
            self.file("plan.json", plan);
        }
        self.failure.map_or(Ok(()), Err)
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new("E104", path.display().to_string(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_crosses_or_commas() {
        assert_eq!(shape("x=1x3x8").unwrap(), ("x".to_owned(), vec![1, 3, 8]));
        assert_eq!(shape("a=b=1,3").unwrap(), ("a=b".to_owned(), vec![1, 3]));
        assert_eq!(shape("x=").unwrap(), ("x".to_owned(), vec![]));
        assert!(["x", "x=1x", "x=-1", "x=N"].iter().all(|text| shape(text).is_err()));
    }
}
