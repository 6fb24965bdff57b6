//! The learning rate of each step, as a pure function of the step.

use super::recipe::{self, ScheduleKind};

/// A schedule whose points are steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Steps of the whole run.
    total: u64,
    /// Steps of the warm-up.
    warmup: u64,
    curve: Curve,
}

#[derive(Clone, Debug, PartialEq)]
enum Curve {
    Constant,
    MultiStep { at: Vec<u64>, factor: f64 },
    Cosine { last: f64 },
}

impl Schedule {
    /// The recipe's schedule for a run of `total` steps.
    pub fn new(recipe: &recipe::Schedule, total: u64, steps_per_epoch: u64) -> Schedule {
        // Points below 1 are shares of the run, others are epochs.
        let step = |&point: &f64| if point < 1.0 { point * total as f64 } else { point * steps_per_epoch as f64 };
        let curve = match recipe.kind {
            ScheduleKind::Constant => Curve::Constant,
            ScheduleKind::MultiStep => {
                let at = recipe.at.iter().map(|point| step(point).round() as u64).collect();
                Curve::MultiStep { at, factor: recipe.factor }
            }
            ScheduleKind::Cosine => Curve::Cosine { last: recipe.last },
        };
        Schedule { total, warmup: recipe.warmup.steps(steps_per_epoch).unwrap_or(0), curve }
    }

    /// The learning rate of a step, counted from 0, as a share of the recipe's.
    ///
    /// Step k of a warm-up of w steps has (k + 1) / w. A multi-step schedule multiplies by its factor from the step on
    /// that it names. A cosine begins at 1 behind the warm-up, and would reach its end one step behind the last.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        match &self.curve {
            Curve::Constant => 1.0,
            Curve::MultiStep { at, factor } => {
                let passed = at.iter().filter(|point| **point <= step).count();
                factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Curve::Cosine { last } => {
                let span = self.total.saturating_sub(self.warmup).max(1);
                let share = ((step - self.warmup) as f64 / span as f64).min(1.0);
                last + (1.0 - last) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * share))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::recipe::Length;

    fn schedule(change: impl FnOnce(&mut recipe::Schedule)) -> Schedule {
        let mut recipe = recipe::Schedule { warmup: Length::Steps(0), ..Default::default() };
        change(&mut recipe);
        Schedule::new(&recipe, 100, 10)
    }

    #[test]
    fn a_constant_schedule_stays() {
        let schedule = schedule(|recipe| recipe.kind = ScheduleKind::Constant);
        assert!((0..200).all(|step| schedule.factor(step) == 1.0));
    }

    #[test]
    fn a_warm_up_rises_in_equal_steps() {
        let schedule = schedule(|recipe| {
            recipe.kind = ScheduleKind::Constant;
            recipe.warmup = Length::Epochs(0.4);
        });
        assert_eq!([0, 1, 2, 3, 4, 99].map(|step| schedule.factor(step)), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_multi_step_schedule_falls_at_shares_and_epochs() {
        let schedule = schedule(|recipe| {
            recipe.kind = ScheduleKind::MultiStep;
            recipe.at = vec![0.5, 7.0];
            recipe.factor = 0.25;
        });
        let found = [0, 49, 50, 69, 70, 99].map(|step| schedule.factor(step));
        assert_eq!(found, [1.0, 1.0, 0.25, 0.25, 0.0625, 0.0625]);
    }

    #[test]
    fn a_cosine_falls_from_one_to_its_end() {
        let schedule = schedule(|recipe| {
            recipe.last = 0.2;
            recipe.warmup = Length::Steps(20);
        });
        let near = |step, wanted: f64| assert!((schedule.factor(step) - wanted).abs() < 1e-12, "step {step}");
        near(19, 1.0);
        near(20, 1.0);
        near(40, 0.2 + 0.8 * 0.5 * (1.0 + std::f64::consts::FRAC_1_SQRT_2));
        near(60, 0.6);
        near(100, 0.2);
        near(1000, 0.2);
        assert!((20..99).all(|step| schedule.factor(step + 1) < schedule.factor(step)));
    }
}
