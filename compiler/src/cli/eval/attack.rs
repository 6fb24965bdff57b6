//! The options of attacks, and what is said of one.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hanc_data::Split;
use hanc_runtime::Options;
use serde_json::{Value, json};

use crate::attack::{self, Attack, Attacker, CarliniWagner, Norm, Pgd, Report, Space, Victim};
use crate::cli::{Outcome, text, ui::Ui};
use crate::error::Failure;
use crate::ir::Graph;
use crate::train::sets::{Port, Sets};

/// An attack by its options.
#[derive(Debug, Args)]
#[command(next_help_heading = "Attacks")]
pub(super) struct AttackArgs {
    /// Measure how often the model stays right when samples are changed against it: by one step along the gradient
    /// (fgsm), by many (pgd), or by the smallest change (cw, Carlini and Wagner's)
    #[arg(long, value_name = "ATTACK")]
    attack: Option<Kind>,
    /// What radii measure: linf, the greatest change of a number, or l2, the root of the sum of all squares
    #[arg(long, value_name = "NORM", requires = "attack", value_parser = ["linf", "l2"])]
    norm: Option<String>,
    /// Radii, in units of the samples ahead of normalisation (pixels go from 0 to 1): `0.1,0.2` or `8/255`; by default
    /// 0.1,0.2,0.3 of linf and 1,2,3 of l2
    #[arg(long, value_name = "R[,R]", requires = "attack", value_delimiter = ',', value_parser = fraction)]
    eps: Vec<f64>,
    /// Steps; 30 of pgd, 1000 of cw
    #[arg(long, value_name = "N", requires = "attack", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// The length of a step of pgd; by default 2.5 times the radius, divided by the steps
    #[arg(long, value_name = "L", requires = "attack", value_parser = fraction)]
    step_size: Option<f64>,
    /// Let pgd start at the sample rather than anywhere within the radius
    #[arg(long, requires = "attack")]
    no_random_start: bool,
    /// Starts of pgd
    #[arg(long, value_name = "N", requires = "attack", value_parser = clap::value_parser!(u32).range(1..))]
    restarts: Option<u32>,
    /// How much being wrong counts against a small change in cw; 1,3,5 by default
    #[arg(long, value_name = "C[,C]", requires = "attack", value_delimiter = ',', value_parser = fraction)]
    c: Vec<f64>,
    /// How often cw seeks a better constant for each sample, from the first one on; 0 by default
    #[arg(long, value_name = "N", requires = "attack")]
    search: Option<u32>,
    /// The learning rate of cw; 0.01 by default
    #[arg(long, value_name = "RATE", requires = "attack", value_parser = fraction)]
    lr: Option<f64>,
    /// By how much another class has to be ahead in cw; 0 by default
    #[arg(long, value_name = "K", requires = "attack", value_parser = fraction)]
    confidence: Option<f64>,
    /// The least and the greatest number of a sample, or `none`; by default 0,1 for pictures and none for tables
    #[arg(long, value_name = "LOW,HIGH", requires = "attack", allow_hyphen_values = true, value_parser = bounds)]
    r#box: Option<Bounds>,
    /// Samples that are attacked at a time
    #[arg(long, value_name = "N", requires = "attack", default_value_t = attack::BATCH as u32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
}

/// The name of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Pgd,
    Fgsm,
    Cw,
}

/// The bounds of samples, where there are some.
#[derive(Clone, Copy, Debug)]
struct Bounds(Option<[f32; 2]>);

/// A positive number or a quotient of two.
fn fraction(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let value = match text.split_once('/') {
        Some((a, b)) => number(a).zip(number(b)).map(|(a, b)| a / b),
        None => number(text),
    };
    value.filter(|x| x.is_finite() && *x >= 0.0).ok_or_else(|| "expected a number such as 0.1 or 8/255".into())
}

fn bounds(text: &str) -> Result<Bounds, String> {
    if text == "none" {
        return Ok(Bounds(None));
    }
    let ends = text.split_once(',').and_then(|(low, high)| Some([low.parse().ok()?, high.parse().ok()?]));
    let ends = ends.filter(|[low, high]: &[f32; 2]| low < high && low.is_finite() && high.is_finite());
    ends.map(|ends| Bounds(Some(ends))).ok_or_else(|| "expected two numbers, the smaller first, or `none`".into())
}

impl AttackArgs {
    /// Whether an attack is asked for.
    pub fn is_wanted(&self) -> bool {
        self.attack.is_some()
    }

    /// Attacks a model on samples of a split.
    pub fn run(
        &self,
        (name, model, port): (&str, &Graph, &Port),
        (split_name, split, sets): (&str, &Split, &Sets),
        options: Options,
        ui: &Ui,
    ) -> Result<Outcome, Failure> {
        let attack = self.attack()?;
        let mut space = Space::of(split, &sets.plain);
        if let Some(Bounds(bounds)) = self.r#box {
            space.bounds = bounds;
        }
        let batch = (self.batch as usize).min(split.len());
        let victim = Victim { model, port, space: &space, batch, options };
        let fail = |error: attack::AttackError| Failure::at(name, &error);
        let mut attacker = Attacker::new(&victim, &attack, ui.seed()).map_err(fail)?;
        let mut spoken = Instant::now();
        let mut seen = |done: usize| {
            if spoken.elapsed() > Duration::from_secs(10) {
                ui.note(format!("{done} of {} samples attacked", split.len()));
                spoken = Instant::now();
            }
        };
        let report = attacker.judge(split, &sets.bare, &mut seen).map_err(fail)?;
        let said = Said { attack: &attack, kind: self.attack, report: &report };
        Ok(Outcome::new(said.text(split_name), said.json(split_name)))
    }

    fn attack(&self) -> Result<Attack, Failure> {
        let kind = self.attack.unwrap_or(Kind::Pgd);
        self.fits(kind)?;
        if kind == Kind::Cw {
            return Ok(Attack::CarliniWagner(self.carlini_wagner()));
        }
        let norm = if self.norm.as_deref() == Some("l2") { Norm::L2 } else { Norm::Linf };
        let radii = self.radii(norm);
        if kind == Kind::Fgsm {
            return Ok(Attack::Pgd(Pgd::fgsm(norm, radii)));
        }
        let pgd = Pgd::new(norm, radii, self.steps.unwrap_or(30) as usize);
        let (random_start, restarts) = (!self.no_random_start, self.restarts.unwrap_or(1) as usize);
        Ok(Attack::Pgd(Pgd { length: self.step_size, random_start, restarts, ..pgd }))
    }

    /// Refuses options of other attacks.
    fn fits(&self, kind: Kind) -> Result<(), Failure> {
        let (pgd, cw) = (kind == Kind::Pgd, kind == Kind::Cw);
        let given = [
            ("--norm", self.norm.is_some(), !cw),
            ("--eps", !self.eps.is_empty(), !cw),
            ("--steps", self.steps.is_some(), pgd || cw),
            ("--step-size", self.step_size.is_some(), pgd),
            ("--no-random-start", self.no_random_start, pgd),
            ("--restarts", self.restarts.is_some(), pgd),
            ("--c", !self.c.is_empty(), cw),
            ("--search", self.search.is_some(), cw),
            ("--lr", self.lr.is_some(), cw),
            ("--confidence", self.confidence.is_some(), cw),
        ];
        match given.iter().find(|(_, given, fits)| *given && !fits) {
            None => Ok(()),
            Some((option, ..)) => {
                Err(Failure::new("E101", *option, format!("it is no option of the attack {}", kind.name())))
            }
        }
    }

    /// Ascending, each once.
    fn radii(&self, norm: Norm) -> Vec<f64> {
        let usual: &[f64] = if norm == Norm::Linf { &[0.1, 0.2, 0.3] } else { &[1.0, 2.0, 3.0] };
        let mut radii = if self.eps.is_empty() { usual.to_vec() } else { self.eps.clone() };
        radii.sort_by(f64::total_cmp);
        radii.dedup();
        radii
    }

    fn carlini_wagner(&self) -> CarliniWagner {
        let usual = CarliniWagner::default();
        CarliniWagner {
            constants: if self.c.is_empty() { usual.constants } else { self.c.clone() },
            search: self.search.unwrap_or(0) as usize,
            steps: self.steps.map_or(usual.steps, |steps| steps as usize),
            rate: self.lr.unwrap_or(usual.rate),
            confidence: self.confidence.unwrap_or(usual.confidence),
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Pgd => "pgd",
            Kind::Fgsm => "fgsm",
            Kind::Cw => "cw",
        }
    }
}

/// What is said of an attack.
struct Said<'a> {
    attack: &'a Attack,
    kind: Option<Kind>,
    report: &'a Report,
}

impl Said<'_> {
    fn kind(&self) -> &'static str {
        self.kind.unwrap_or(Kind::Pgd).name()
    }

    /// What the strengths are.
    fn measure(&self) -> &'static str {
        match self.attack {
            Attack::Pgd(pgd) if pgd.norm == Norm::Linf => "linf",
            Attack::Pgd(_) => "l2",
            Attack::CarliniWagner(_) => "c",
        }
    }

    fn text(&self, split: &str) -> String {
        let Report { samples, clean, results } = self.report;
        let row = |result: &attack::Strength| {
            let norm = result.mean_norm.map_or("–".into(), |norm| format!("{norm:.4}"));
            let strength = (result.strength * 1e5).round() / 1e5;
            vec![strength.to_string(), format!("{:.4}", result.robust), result.fooled.to_string(), norm]
        };
        let rows: Vec<_> = results.iter().map(row).collect();
        let table = text::table(&[&format!(">{}", self.measure()), ">robust", ">made wrong", ">mean l2"], &rows);
        format!("{samples} samples for {split} under {}, accuracy without it {clean:.4}\n{table}", self.kind())
    }

    fn json(&self, split: &str) -> Value {
        let Report { samples, clean, results } = self.report;
        let mut metrics = serde_json::Map::from_iter([("clean".to_owned(), json!(clean))]);
        let key = |strength: f64| format!("robust_{}_{strength}", self.measure());
        metrics.extend(results.iter().map(|result| (key(result.strength), json!(result.robust))));
        let mut attack = match self.attack {
            Attack::Pgd(pgd) => json!({
                "steps": pgd.steps, "step_size": pgd.length, "random_start": pgd.random_start, "restarts": pgd.restarts,
            }),
            Attack::CarliniWagner(cw) => json!({
                "steps": cw.steps, "search": cw.search, "lr": cw.rate, "confidence": cw.confidence,
            }),
        };
        attack["kind"] = json!(self.kind());
        attack["strength"] = json!(self.measure());
        attack["results"] = json!(results);
        json!({"metrics": metrics, "samples": samples, "split": split, "attack": attack})
    }
}
