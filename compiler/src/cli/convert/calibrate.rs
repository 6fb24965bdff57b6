//! `--calibrate`: samples that blocks are fitted on, and that candidates learn from.

use hanc_runtime::Device;

use super::Convert;
use crate::blocks::{Block, Found};
use crate::cli::model::Loaded;
use crate::cli::{recipe, ui::Ui};
use crate::convert::report::FitLine;
use crate::convert::{ConvertError, Options, apply, select};
use crate::error::Failure;
use crate::fit::{self, Effort, Fitted, Samples, effect};
use crate::ir::Graph;
use crate::train::Recipe;
use crate::train::recipe::Data;
use crate::train::sets::{Port, Sets};

/// Samples, and how a model may learn from them.
pub(super) struct Calibration {
    /// The recipe `recover` with what --prepare says.
    pub recipe: Recipe,
    pub port: Port,
    pub sets: Sets,
    /// What computes.
    pub device: Device,
}

impl Calibration {
    /// Opens the samples.
    pub fn open(
        path: &str,
        prepare: &[String],
        model: &Loaded,
        device: Device,
        ui: &Ui,
    ) -> Result<Calibration, Failure> {
        let recipe = recipe::load("recover", prepare)?;
        let recipe = Recipe { data: Data { path: path.to_owned(), ..recipe.data }, ..recipe };
        let port = Port::of(&model.graph).map_err(|e| Failure::at(&*model.name, &e))?;
        let sets = Sets::open(&recipe.data, ui.seed(), &port).map_err(|e| Failure::at(path, &e))?;
        Ok(Calibration { recipe, port, sets, device })
    }

    fn samples(&self) -> Samples<'_> {
        (&self.sets.train, &self.sets.plain, &self.port)
    }
}

impl Convert {
    /// Fits what the selected blocks start from, and ranks them: those that cost least for what they save come first.
    pub(super) fn fit(
        &self,
        model: &Loaded,
        (graph, found): (&Graph, &Found),
        calibration: &Calibration,
        options: &mut Options,
        ui: &Ui,
    ) -> Result<Vec<FitLine>, Failure> {
        let selected = select::select(graph, found, &options.selection).map_err(ConvertError::from);
        let selected = selected.map_err(|e| Failure::at(&*model.name, &e))?;
        let effort = Effort { threads: ui.threads, device: calibration.device.clone(), ..Effort::default() };
        let mut seen = |id: &str, fitted: &Fitted| {
            ui.note(format!("{id}: fitted to an error of {:.3} (the paper's start {:.3})", fitted.error, fitted.paper));
        };
        let fail = |error| Failure::at(&*model.name, &error);
        let fitted = fit::fit(graph, &selected.chosen, options, calibration.samples(), &effort, &mut seen);
        let fitted = fitted.map_err(fail)?;
        options.fitted = fitted.iter().map(|(id, fitted)| (id.clone(), fitted.start.clone())).collect();
        let bench = effect::Bench::new(graph, calibration.samples(), &effort).map_err(fail)?;
        let line = |block: &&Block| {
            let effect = bench.effect(graph, found, block, options)?;
            let Fitted { error, paper, .. } = fitted[&block.id];
            Ok(FitLine { id: block.id.clone(), error, paper, effect, saved: saved(block, options) })
        };
        let mut lines: Vec<FitLine> = selected.chosen.iter().map(line).collect::<Result<_, _>>().map_err(fail)?;
        lines.sort_by(|a, b| a.cost().total_cmp(&b.cost()));
        Ok(lines)
    }
}

/// Parameters that a block has more than what takes its place.
fn saved(block: &Block, options: &Options) -> u64 {
    block.parameters.saturating_sub(apply::parameters(block, options))
}
