//! `hanc convert`

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use hanc_proto::SaveOptions;

use super::model::{self, Loaded};
use super::{Outcome, ui::Ui};
use crate::blocks::{self, Found};
use crate::convert::{self, ConvertError, Converted, Emit, Init, Options, Origin, Selection, select};
use crate::error::Failure;
use crate::ir::{Graph, NodeId};
use crate::onnx;

/// Rewrites the chosen blocks into Han layers; everything else keeps its nodes, names and weights.
#[derive(Debug, Args)]
pub(super) struct Convert {
    /// The model
    model: String,
    /// Kinds of blocks: mlp-blocks (mixer-token, mixer-channel and ffn), mixer-token, mixer-channel, ffn, mlp,
    /// token-linear, linear
    #[arg(long, value_name = "KIND[,KIND…]", required = true)]
    replace: String,
    /// File to write
    #[arg(long, short, value_name = "OUT", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Only blocks whose id or one of whose nodes this pattern matches
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// No block whose id or one of whose nodes this pattern matches
    #[arg(long, value_name = "GLOB")]
    except: Vec<String>,
    /// Only blocks of these numbers, in the order in which `hanc inspect` lists them
    #[arg(long, value_name = "0,3-5")]
    blocks: Option<String>,
    /// Han layers a block
    #[arg(long, value_name = "K", default_value_t = 2)]
    depth: usize,
    /// Keep the norm in front of a block
    #[arg(long)]
    keep_norm: bool,
    /// Keep the skip connection around a block
    #[arg(long)]
    keep_residual: bool,
    /// What the layers start from
    #[arg(long, value_name = "START", default_value = "paper")]
    init: Start,
    /// Data that `--init fit` learns from
    #[arg(long, value_name = "DATA", hide = true)]
    calibrate: Option<String>,
    /// How a layer is written
    #[arg(long, value_name = "FORM", default_value = "inline")]
    emit: Form,
    /// Write nothing but the table
    #[arg(long)]
    dry_run: bool,
    /// Write what was done, as .json or .html
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Start {
    /// As the paper does: random directions
    Paper,
    /// As the identity, which the skip connection was
    Identity,
    /// Learned from what the block computes on data
    #[value(hide = true)]
    Fit,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Plain operators that every runtime has
    Inline,
    /// A model-local function
    Function,
}

impl Convert {
    pub fn run(&self, ui: &Ui) -> Result<Outcome, Failure> {
        self.check()?;
        let options = self.options(ui)?;
        let model = model::load(&self.model, ui)?;
        let origin = origin(&model)?;
        let mut converted = convert(&model, &origin, &options)?;
        if let Some(output) = self.output.as_ref().filter(|_| !self.dry_run) {
            save(&model, &converted, output)?;
            converted.report.output = Some(output.display().to_string());
        }
        self.write_report(&converted)?;
        let json = serde_json::to_value(&converted.report).unwrap_or_default();
        Ok(Outcome::new(self.text(&converted), json))
    }

    /// What can be refused before the model is read.
    fn check(&self) -> Result<(), Failure> {
        self.output.iter().chain(&self.report).try_for_each(|path| super::writable(path))?;
        match &self.report {
            Some(path) if form(path).is_none() => {
                let message = "a report is an .html or a .json file";
                Err(Failure::new("E101", path.display().to_string(), message)
                    .help("Name it report.html or report.json."))
            }
            _ => Ok(()),
        }
    }

    fn options(&self, ui: &Ui) -> Result<Options, Failure> {
        let usage = |error: select::SelectError| Failure::at(&*self.model, &ConvertError::from(error));
        let indices = self.blocks.as_deref().map(select::parse_indices).transpose().map_err(usage)?;
        let kinds = select::parse_kinds(&self.replace).map_err(usage)?;
        Ok(Options {
            selection: Selection { kinds, only: self.only.clone(), except: self.except.clone(), indices },
            depth: self.depth,
            keep_norm: self.keep_norm,
            keep_residual: self.keep_residual,
            init: self.start()?,
            emit: match self.emit {
                Form::Inline => Emit::Inline,
                Form::Function => Emit::Function,
            },
            seed: ui.seed(),
            ..Options::default()
        })
    }

    /// Starts that learn from data need training, which is not there yet.
    fn start(&self) -> Result<Init, Failure> {
        match (self.init, &self.calibrate) {
            (Start::Paper, None) => Ok(Init::Paper),
            (Start::Identity, None) => Ok(Init::Identity),
            _ => Err(Failure::new("E101", "", "--init fit and --calibrate are not there yet: they come with training")
                .help("Use --init paper or --init identity, and train the converted model elsewhere.")),
        }
    }

    fn write_report(&self, converted: &Converted) -> Result<(), Failure> {
        let Some(path) = &self.report else { return Ok(()) };
        let text = match form(path) {
            Some("html") => converted.report.html(&self.model),
            _ => serde_json::to_string_pretty(&converted.report).unwrap_or_default() + "\n",
        };
        let written = crate::output::replace(path, |file| file.write_all(text.as_bytes()));
        written.map_err(|e| Failure::new("E104", path.display().to_string(), e.to_string()))
    }

    fn text(&self, converted: &Converted) -> String {
        let text = converted.report.text();
        let text = super::text::clean(text.trim_end()).into_owned();
        match &converted.report.output {
            Some(output) => format!("{text}\nwrote {output}"),
            None => format!("{text}\nnothing was written"),
        }
    }
}

fn form(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?;
    ["html", "json"].into_iter().find(|form| extension.eq_ignore_ascii_case(form))
}

/// Hash and metadata of the file.
fn origin(model: &Loaded) -> Result<Origin, Failure> {
    let entries = model.file.header.metadata_props.iter();
    let metadata = entries.map(|entry| (entry.key().to_owned(), entry.value().to_owned())).collect();
    Ok(Origin { sha256: Some(model.sha256()?), metadata })
}

/// Nodes that hide the end of a selected block are opened level by level: no model nests functions deeper than this.
const LEVELS: usize = 64;

/// Converts the model. Of calls of model-local functions, those that a selected block begins or ends in are inlined.
fn convert(model: &Loaded, origin: &Origin, options: &Options) -> Result<Converted, Failure> {
    let mut graph = model.graph.clone();
    let mut found = find(model, &graph)?;
    for _ in 0..LEVELS {
        let selected = select::select(&graph, &found, &options.selection).map_err(ConvertError::from);
        let selected = selected.map_err(|e| Failure::at(&*model.name, &e))?;
        let opens: BTreeSet<NodeId> = selected.chosen.iter().flat_map(|block| &block.opens).copied().collect();
        if opens.is_empty() {
            break;
        }
        blocks::open(&mut graph, &opens).map_err(|e| Failure::at(&*model.name, &e))?;
        found = find(model, &graph)?;
    }
    convert::convert(&graph, &found, origin, options).map_err(|e| Failure::at(&*model.name, &e))
}

fn find(model: &Loaded, graph: &Graph) -> Result<Found, Failure> {
    blocks::find(graph).map_err(|e| Failure::at(&*model.name, &e))
}

fn save(model: &Loaded, converted: &Converted, output: &Path) -> Result<(), Failure> {
    let name = || output.display().to_string();
    let file = onnx::export(&converted.graph, Some(&model.file), &converted.addition());
    let file = file.map_err(|e| Failure::at(&*model.name, &e))?;
    crate::output::announce(output);
    file.save(output, &SaveOptions::default()).map_err(|e| Failure::at(name(), &e))?;
    Ok(())
}
