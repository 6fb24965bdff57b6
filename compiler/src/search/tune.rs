//! Converts some blocks and lets the result learn from the original.

use std::time::{Duration, Instant};

use super::{Attempt, Study};
use crate::convert::{self, Converted, Options, Selection, apply};
use crate::error::Failure;
use crate::ir::{Constant, Graph, ValueId};
use crate::train::recipe::{Length, Recipe};
use crate::train::run::Position;
use crate::train::{Learner, Lesson, Schedule, Task};

/// Steps between two looks at the clock.
const LOOK: u64 = 10;
/// The first steps, in which memory is laid out, say nothing about how long one takes.
const SETTLING: u64 = 2;
/// The part of a run in which the learning rate rises at most: a tenth.
const WARMUP: u64 = 10;

/// A conversion that has learned.
pub(super) struct Tuned {
    pub converted: Converted,
    pub learned: Learned,
}

/// How far a conversion learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Learned {
    /// Steps that were made.
    pub steps: u64,
    /// Whether the clock had a say: fewer steps than were asked for seemed to fit into the time.
    pub shortened: bool,
    /// Whether it ended at a loss or gradient that is not finite.
    pub diverged: bool,
}

impl Study<'_> {
    /// The blocks of these ids converted, untrained.
    pub(super) fn convert(&self, ids: &[String]) -> Result<(Converted, Options), Failure> {
        let ids = Some(ids.iter().cloned().collect());
        let selection = Selection { ids, ..self.options.selection.clone() };
        let options = Options { selection, ..self.options.clone() };
        let converted = convert::convert(self.graph, self.found, self.origin, &options);
        Ok((converted.map_err(|e| Failure::at(self.name, &e))?, options))
    }

    /// Converts and trains a candidate for a round; with fewer steps, if these would take longer than `time`.
    pub(super) fn tune(
        &self,
        attempt: &Attempt<'_>,
        time: Duration,
        seen: &mut dyn FnMut(u64, u64),
    ) -> Result<Tuned, Failure> {
        let (converted, options) = self.convert(attempt.ids)?;
        let mut start = converted.graph.clone();
        if let Some(from) = attempt.from {
            inherit(&mut start, from);
        }
        let lesson = Lesson {
            name: self.name,
            model: &start,
            teacher: Some(self.graph),
            features: self.results_of(attempt.ids),
            recipe: self.recipe,
            threads: self.threads,
            device: self.device.clone(),
        };
        let mut learner = Learner::on(&lesson, self.sets.clone())?;
        let learned = learn(&mut learner, self.recipe, (attempt.steps, time), seen)?;
        let graph = learner.model().clone();
        let converted = converted.with_weights(graph, self.graph, self.found, &options);
        Ok(Tuned { converted: converted.map_err(|e| Failure::at(self.name, &e))?, learned })
    }

    /// The values that blocks make, by name.
    fn results_of(&self, ids: &[String]) -> Vec<String> {
        let chosen = self.found.blocks.iter().filter(|block| ids.contains(&block.id));
        let value = |block| apply::ends(block, self.options).1.value;
        chosen.map(|block| self.graph.value(value(block)).name.to_string()).collect()
    }
}

/// Takes the weights that both graphs have from the other one.
fn inherit(graph: &mut Graph, from: &Graph) {
    let changed = |(id, name): (ValueId, &str)| {
        let (own, other) = (graph.literal(id)?, from.literal(from.find(name)?)?);
        let alike = own.dtype == other.dtype && own.shape == other.shape;
        (alike && own.bytes != other.bytes).then_some((id, Constant { origin: None, ..other }))
    };
    let named = graph.values().map(|(id, value)| (id, &*value.name));
    let changed: Vec<_> = named.filter_map(changed).collect();
    for (id, constant) in changed {
        let maker = graph.producer(id).map(|(node, _)| node);
        graph.redefine_constant(id, constant);
        maker.into_iter().for_each(|node| graph.remove_node(node));
    }
}

/// Lets a task make its steps, as many as fit into the time; the schedule ends with the last of them.
fn learn(
    task: &mut dyn Task,
    recipe: &Recipe,
    (steps, time): (u64, Duration),
    seen: &mut dyn FnMut(u64, u64),
) -> Result<Learned, Failure> {
    let per_epoch = task.steps_per_epoch();
    let (mut learned, mut pace) = (Learned::default(), Pace::new(time));
    let (mut total, mut plan) = (steps, schedule(recipe, steps, per_epoch));
    while learned.steps < total {
        let at = Position::of(learned.steps, per_epoch);
        match task.step(at, plan.factor(at.step)) {
            Err(failure) if failure.code == "E813" => return Ok(Learned { diverged: true, ..learned }),
            step => step?,
        };
        learned.steps += 1;
        seen(learned.steps, total);
        let affordable = pace.affordable(learned.steps).unwrap_or(total).min(steps);
        if affordable != total {
            (total, plan) = (affordable, schedule(recipe, affordable, per_epoch));
            learned.shortened = true;
        }
    }
    Ok(learned)
}

/// How fast steps are made, and how many the time allows.
struct Pace {
    begun: Instant,
    settled: Instant,
    time: Duration,
}

impl Pace {
    fn new(time: Duration) -> Pace {
        let now = Instant::now();
        Pace { begun: now, settled: now, time }
    }

    /// Steps of the whole run that fit into the time, at the pace so far; none between two looks at the clock.
    fn affordable(&mut self, done: u64) -> Option<u64> {
        if done == SETTLING {
            self.settled = Instant::now();
        }
        if done <= SETTLING || !done.is_multiple_of(LOOK) {
            return None;
        }
        let each = self.settled.elapsed().as_secs_f64() / (done - SETTLING) as f64;
        let left = self.time.saturating_sub(self.begun.elapsed()).as_secs_f64();
        Some(done.saturating_add((left / each.max(f64::MIN_POSITIVE)) as u64))
    }
}

/// The recipe's schedule with a warm-up that leaves most steps of a short run alone.
fn schedule(recipe: &Recipe, steps: u64, per_epoch: u64) -> Schedule {
    let warmup = recipe.schedule.warmup.steps(per_epoch).unwrap_or(0).min(steps / WARMUP);
    let own = crate::train::recipe::Schedule { warmup: Length::Steps(warmup), ..recipe.schedule.clone() };
    Schedule::new(&own, steps, per_epoch)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hanc_runtime::Tensor;

    use super::*;
    use crate::train::run::{Metrics, Split, State, StepReport};

    /// Notes the rates that it is given; fails at a step, and takes its time.
    struct Toy {
        rates: Vec<f64>,
        fails: u64,
        pause: Duration,
    }

    impl Task for Toy {
        fn steps_per_epoch(&self) -> u64 {
            10
        }

        fn step(&mut self, at: Position, rate: f64) -> Result<StepReport, Failure> {
            self.rates.push(rate);
            std::thread::sleep(self.pause);
            match at.step == self.fails {
                true => Err(Failure::new("E813", "toy", "the loss is not finite")),
                false => Ok(StepReport { loss: 1.0, gradient_norm: None, samples: 1 }),
            }
        }

        fn evaluate(&mut self, _: Split) -> Result<Option<Metrics>, Failure> {
            Ok(None)
        }

        fn state(&mut self) -> Result<State<'_>, Failure> {
            Ok(BTreeMap::new())
        }

        fn restore(&mut self, _: BTreeMap<String, Tensor>) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn run(fails: u64, pause: Duration, time: Duration) -> (Learned, Vec<f64>) {
        let mut toy = Toy { rates: Vec::new(), fails, pause };
        let learned = learn(&mut toy, &Recipe::default(), (40, time), &mut |_, _| {}).unwrap();
        (learned, toy.rates)
    }

    #[test]
    fn a_run_that_has_time_makes_all_its_steps() {
        let (learned, rates) = run(99, Duration::ZERO, Duration::from_secs(3600));
        assert_eq!(learned, Learned { steps: 40, shortened: false, diverged: false });
        // Half an epoch is 5 steps, a tenth of the run 4.
        assert_eq!(rates[..4], [0.25, 0.5, 0.75, 1.0]);
        assert!(rates[4] == 1.0 && rates[39] < 0.01);
    }

    #[test]
    fn a_run_without_time_ends_early_and_at_a_low_rate() {
        let (learned, rates) = run(99, Duration::from_millis(20), Duration::from_millis(500));
        assert!(learned.shortened && learned.steps >= LOOK && learned.steps < 40, "{learned:?}");
        assert_eq!(learned.steps as usize, rates.len());
        assert!(rates[rates.len() - 1] < 0.1, "{rates:?}");
    }

    #[test]
    fn a_run_that_diverges_is_no_error() {
        let (learned, _) = run(7, Duration::ZERO, Duration::from_secs(3600));
        assert_eq!(learned, Learned { steps: 7, shortened: false, diverged: true });
    }
}
