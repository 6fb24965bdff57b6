//! The parent's side of a measurement.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::quantile;

/// An engine to measure: its name, and the command that serves it (see [`super::serve`]).
pub struct Contestant {
    /// Its name.
    pub engine: String,
    /// The command.
    pub command: Command,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Contest {
    /// Runs of each engine in all.
    pub runs: usize,
    /// How often they take turns.
    pub turns: usize,
}

/// What was measured of an engine.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The engine.
    pub engine: String,
    /// Milliseconds of each run, ascending.
    pub times: Vec<f64>,
    /// Milliseconds from loading to the first result.
    pub start_ms: f64,
    /// The most memory that its process had, if the system says.
    pub peak_mib: Option<f64>,
    /// The median of each turn.
    turns: Vec<f64>,
}

impl Figures {
    /// The median of all runs.
    pub fn median(&self) -> f64 {
        quantile(&self.times, 0.5)
    }

    /// The time that one run in a hundred takes longer than.
    pub fn p99(&self) -> f64 {
        quantile(&self.times, 0.99)
    }

    /// The median over all turns of this engine's time over the other's in the same turn.
    pub fn ratio(&self, other: &Figures) -> f64 {
        let mut ratios: Vec<f64> = self.turns.iter().zip(&other.turns).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        quantile(&ratios, 0.5)
    }
}

/// Between two turns: threads of the last one go to sleep.
const PAUSE: Duration = Duration::from_millis(20);
/// Milliseconds of a turn at least, where the runs are not given.
const TURN_MS: f64 = 100.0;

/// Measures engines in turns. Without `runs`, each turn takes a tenth of a second or five runs at least.
pub fn measure(contestants: Vec<Contestant>, runs: Option<Contest>) -> Result<Vec<Figures>, (String, String)> {
    let mut served: Vec<Served> = Vec::new();
    for contestant in contestants {
        let engine = contestant.engine.clone();
        served.push(Served::start(contestant).map_err(|message| (engine, message))?);
    }
    let turns = runs.map_or(11, |contest| contest.turns.max(1));
    for turn in 0..=turns {
        for engine in &mut served {
            let runs = runs.map_or_else(|| engine.worth(), |contest| contest.runs.div_ceil(turns).max(1));
            // The first turn only warms up.
            engine.turn(runs, turn > 0).map_err(|message| (engine.figures.engine.clone(), message))?;
        }
    }
    Ok(served.into_iter().map(Served::finish).collect())
}

struct Served {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    figures: Figures,
    /// Milliseconds of a run, roughly.
    rough: f64,
}

impl Served {
    fn start(mut contestant: Contestant) -> Result<Served, String> {
        let command = contestant.command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("its process does not start: {e}"))?;
        let (ask, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(ask), Some(answers)) = (ask, answers) else { return Err("its process has no pipes".into()) };
        let engine = contestant.engine;
        let figures = Figures { engine, times: Vec::new(), start_ms: 0.0, peak_mib: None, turns: Vec::new() };
        let mut served = Served { child, ask, answers: BufReader::new(answers), figures, rough: 1.0 };
        let started = served.answer()?;
        served.figures.start_ms = started["start_ms"].as_f64().unwrap_or(f64::NAN);
        served.rough = quantile(&served.run(1)?, 0.5).max(1e-4);
        Ok(served)
    }

    /// Runs that make a turn long enough to tell.
    fn worth(&self) -> usize {
        (TURN_MS / self.rough).ceil().clamp(5.0, 20_000.0) as usize
    }

    fn turn(&mut self, runs: usize, counts: bool) -> Result<(), String> {
        std::thread::sleep(PAUSE);
        let mut times = self.run(runs)?;
        times.sort_by(f64::total_cmp);
        self.rough = quantile(&times, 0.5).max(1e-4);
        if counts {
            self.figures.turns.push(self.rough);
            self.figures.times.extend(times);
        }
        Ok(())
    }

    fn run(&mut self, runs: usize) -> Result<Vec<f64>, String> {
        writeln!(self.ask, "{runs}").and_then(|()| self.ask.flush()).map_err(|e| format!("its process ended: {e}"))?;
        let answer = self.answer()?;
        self.figures.peak_mib = answer["peak_mib"].as_f64();
        Ok(answer["ms"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect())
    }

    fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_str(&line).map_err(|_| "its process ended".to_owned())?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }

    fn finish(self) -> Figures {
        let Served { mut child, ask, mut figures, .. } = self;
        drop(ask);
        let _ = child.wait();
        figures.times.sort_by(f64::total_cmp);
        figures
    }
}
