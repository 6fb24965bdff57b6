//! The table of keys: what each takes. Checks, suggestions and the reference are loops over it.

use std::fmt;

use toml::Value;

use super::{Best, Length};

/// A key of a recipe.
#[derive(Debug)]
pub struct Key {
    /// Section and name, `optimiser.lr`.
    pub path: &'static str,
    /// What may stand there.
    pub takes: Takes,
}

/// What may stand at a key.
#[derive(Debug)]
pub enum Takes {
    /// `true` or `false`.
    Bool,
    /// Any text.
    Text,
    /// A list of texts.
    Texts,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A whole number, this or more.
    Whole(u64),
    /// A list of whole numbers from 1 up.
    Wholes,
    /// A number.
    Number(Range),
    /// A list of so many numbers; of any length if `None`.
    Numbers(Option<usize>, Range),
    /// A length of time, more than nothing if `true`; seconds if the second says so.
    Time(bool, Clock),
    /// `auto`, `min:METRIC` or `max:METRIC`.
    Metric,
    /// A list of `{ kind = … }`, which [`Augment`](super::Augment) describes.
    Augments,
}

/// Whether a length of time may be given in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// It may.
    Seconds,
    /// It may not: what happens would depend on how fast the machine is.
    StepsOnly,
}

/// A range of numbers.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    /// Any finite number.
    Finite,
    /// More than 0.
    Positive,
    /// 0 or more.
    NotNegative,
    /// From 0 to 1.
    Share,
    /// From 0 to 1, without 1.
    BelowOne,
}

use Range::*;
use Takes::*;

/// Every key, in the order in which recipes print.
pub static KEYS: &[Key] = &[
    Key { path: "data.path", takes: Text },
    Key { path: "data.validation", takes: Text },
    Key { path: "data.test", takes: Text },
    Key { path: "data.split", takes: Numbers(Some(3), Share) },
    Key { path: "data.pool", takes: Bool },
    Key { path: "data.resize", takes: Wholes },
    Key { path: "data.normalise", takes: OneOf(&["none", "training", "imagenet", "given"]) },
    Key { path: "data.mean", takes: Numbers(None, Finite) },
    Key { path: "data.deviation", takes: Numbers(None, Positive) },
    Key { path: "data.augment", takes: Augments },
    Key { path: "data.sampler", takes: OneOf(&["shuffle", "draw"]) },
    Key { path: "data.workers", takes: Whole(0) },
    Key { path: "loss.kind", takes: OneOf(&["cross-entropy", "mse"]) },
    Key { path: "loss.smoothing", takes: Number(BelowOne) },
    Key { path: "loss.labels", takes: Bool },
    Key { path: "loss.teacher", takes: Number(NotNegative) },
    Key { path: "loss.temperature", takes: Number(Positive) },
    Key { path: "loss.features", takes: Number(NotNegative) },
    Key { path: "optimiser.kind", takes: OneOf(&["sgd", "adam", "adamw"]) },
    Key { path: "optimiser.lr", takes: Number(Positive) },
    Key { path: "optimiser.momentum", takes: Number(BelowOne) },
    Key { path: "optimiser.nesterov", takes: Bool },
    Key { path: "optimiser.betas", takes: Numbers(Some(2), BelowOne) },
    Key { path: "optimiser.eps", takes: Number(Positive) },
    Key { path: "optimiser.weight_decay", takes: Number(NotNegative) },
    Key { path: "optimiser.reflections.lr", takes: Number(Positive) },
    Key { path: "optimiser.reflections.weight_decay", takes: Number(NotNegative) },
    Key { path: "schedule.kind", takes: OneOf(&["constant", "multi-step", "cosine"]) },
    Key { path: "schedule.at", takes: Numbers(None, NotNegative) },
    Key { path: "schedule.factor", takes: Number(Positive) },
    Key { path: "schedule.warmup", takes: Time(false, Clock::StepsOnly) },
    Key { path: "schedule.final", takes: Number(Share) },
    Key { path: "train.epochs", takes: Number(Positive) },
    Key { path: "train.steps", takes: Whole(1) },
    Key { path: "train.batch", takes: Whole(1) },
    Key { path: "train.accumulate", takes: Whole(1) },
    Key { path: "train.clip", takes: Number(NotNegative) },
    Key { path: "train.ema", takes: Number(BelowOne) },
    Key { path: "train.batch_norm", takes: OneOf(&["train", "frozen"]) },
    Key { path: "train.freeze", takes: Texts },
    Key { path: "train.seed", takes: Whole(0) },
    Key { path: "train.log_every", takes: Whole(1) },
    Key { path: "train.eval_every", takes: Time(true, Clock::StepsOnly) },
    Key { path: "train.checkpoint_every", takes: Time(true, Clock::Seconds) },
    Key { path: "train.early_stop", takes: Whole(0) },
    Key { path: "train.best", takes: Metric },
    Key { path: "train.keep", takes: OneOf(&["best", "last"]) },
];

impl Takes {
    /// What is wrong with a value.
    pub(super) fn flaw(&self, value: &Value) -> Option<String> {
        (!self.admits(value)).then(|| format!("{value} is not {self}"))
    }

    fn admits(&self, value: &Value) -> bool {
        match self {
            Bool => value.is_bool(),
            Text => value.is_str(),
            Texts => list(value, None, Value::is_str),
            OneOf(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
            Whole(least) => whole(value, *least),
            Wholes => list(value, None, |item| whole(item, 1)),
            Number(range) => range.admits(value),
            Numbers(count, range) => list(value, *count, |item| range.admits(item)),
            Time(positive, clock) => length(value).is_some_and(|length| {
                let seconds = matches!(length, Length::Seconds(_));
                (length.amount() > 0.0 || !positive) && (!seconds || *clock == Clock::Seconds)
            }),
            Metric => value.as_str().is_some_and(|text| Best::try_from(text.to_owned()).is_ok()),
            Augments => list(value, None, Value::is_table),
        }
    }
}

fn list(value: &Value, count: Option<usize>, item: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| count.is_none_or(|count| count == items.len()) && items.iter().all(item))
}

fn whole(value: &Value, least: u64) -> bool {
    value.as_integer().and_then(|n| u64::try_from(n).ok()).is_some_and(|n| n >= least)
}

fn length(value: &Value) -> Option<Length> {
    match value {
        Value::Integer(steps) => u64::try_from(*steps).ok().map(Length::Steps),
        Value::String(text) => Length::parse(text),
        _ => None,
    }
}

impl Range {
    fn admits(self, value: &Value) -> bool {
        let number = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
        number.is_some_and(|x| match self {
            Finite => x.is_finite(),
            Positive => x > 0.0 && x.is_finite(),
            NotNegative => x >= 0.0 && x.is_finite(),
            Share => (0.0..=1.0).contains(&x),
            BelowOne => (0.0..1.0).contains(&x),
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Finite => "",
            Positive => " above 0",
            NotNegative => " from 0 up",
            Share => " from 0 to 1",
            BelowOne => " from 0 to below 1",
        })
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bool => write!(f, "true or false"),
            Text => write!(f, "a text"),
            Texts => write!(f, "a list of texts"),
            OneOf(texts) => write!(f, "one of {}", texts.join(", ")),
            Whole(least) => write!(f, "a whole number from {least} up"),
            Wholes => write!(f, "a list of whole numbers from 1 up"),
            Number(range) => write!(f, "a number{range}"),
            Numbers(Some(count), range) => write!(f, "a list of {count} numbers{range}"),
            Numbers(None, range) => write!(f, "a list of numbers{range}"),
            Time(positive, clock) => {
                let least = if *positive { "1" } else { "0" };
                let seconds = if *clock == Clock::Seconds { ", or \"N s\"" } else { "" };
                write!(f, "a number of steps from {least} up, or \"N epochs\"{seconds}")
            }
            Metric => write!(f, "auto, min:METRIC or max:METRIC"),
            Augments => write!(f, "a list of {{ kind = … }}"),
        }
    }
}
