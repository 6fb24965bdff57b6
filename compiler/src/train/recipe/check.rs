//! What no single value says: values that contradict each other.

use super::{Normalise, Recipe, ScheduleKind};

/// A key, what is wrong with it, and what to do.
pub(super) type Flaw = (&'static str, String, &'static str);

impl Recipe {
    /// The first contradiction.
    pub(super) fn flaw(&self) -> Option<Flaw> {
        self.length().or_else(|| self.data()).or_else(|| self.targets()).or_else(|| self.curve())
    }

    fn length(&self) -> Option<Flaw> {
        let message = match (self.train.epochs, self.train.steps) {
            (Some(_), Some(_)) => "the length is given twice, as steps and as epochs",
            (None, None) => "the length is not given",
            _ => return None,
        };
        Some(("train.steps", message.into(), "Give either train.epochs or train.steps."))
    }

    fn data(&self) -> Option<Flaw> {
        let data = &self.data;
        let sum: f64 = data.split.iter().sum();
        if sum > 1.0 + 1e-9 || data.split[0] == 0.0 {
            let message = format!("the shares {:?} leave nothing to train or sum to more than 1", data.split);
            return Some(("data.split", message, "Give the shares of training, validation and test: [0.8, 0.1, 0.1]."));
        }
        if !matches!(data.resize.len(), 0 | 2) {
            let message = format!("{:?} is no height and width", data.resize);
            return Some(("data.resize", message, "Give [height, width], or [] for the size of the model's input."));
        }
        let given = data.normalise == Normalise::Given;
        if given && (data.mean.is_empty() || data.mean.len() != data.deviation.len()) {
            let message = "`given` needs data.mean and data.deviation, one number a channel each".into();
            return Some(("data.normalise", message, "Give both lists, or normalise = \"training\"."));
        }
        let flaw = data.augment.iter().find_map(|augment| augment.flaw());
        flaw.map(|message| ("data.augment", message, "Give a value in this range."))
    }

    fn targets(&self) -> Option<Flaw> {
        let loss = &self.loss;
        let nothing = !loss.labels && loss.teacher == 0.0 && loss.features == 0.0;
        let message = "without labels, loss.teacher and loss.features nothing is learned".into();
        nothing.then_some(("loss.labels", message, "Set loss.teacher to a weight such as 1, or use labels."))
    }

    fn curve(&self) -> Option<Flaw> {
        let schedule = &self.schedule;
        let multi = schedule.kind == ScheduleKind::MultiStep;
        if multi && schedule.at.is_empty() {
            let message = "a multi-step schedule needs schedule.at".into();
            return Some(("schedule.at", message, "Give shares of the run or epochs: [0.5, 0.7, 0.9]."));
        }
        let falls = |pair: &[f64]| pair[0] >= pair[1];
        let unordered = schedule.at.windows(2).any(falls);
        let message = format!("{:?} does not ascend", schedule.at);
        unordered.then_some(("schedule.at", message, "Order the points from early to late."))
    }
}
