//! From the text of a recipe and overrides to a [`Recipe`], or to the place of what is wrong.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::Recipe;
use super::keys::{KEYS, Key};

/// Why there is no recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct RecipeError {
    /// The file, or the override.
    pub origin: String,
    /// Line in the file.
    pub line: Option<usize>,
    /// The key, with its section.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl RecipeError {
    fn text(&self) -> String {
        let place = self.place().map_or(String::new(), |place| format!("{place}: "));
        format!("{}: {place}{}", self.origin, self.message)
    }

    /// Line and key, `line 7, optimiser.lr`.
    pub fn place(&self) -> Option<String> {
        let line = self.line.map(|line| format!("line {line}"));
        let key = (!self.key.is_empty()).then(|| self.key.clone());
        let parts: Vec<_> = line.into_iter().chain(key).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// The recipe of a text in TOML that comes from `source`, with overrides such as `optimiser.lr=3e-4` applied in turn.
///
/// Every key and value is checked; what the text leaves out stays at its default.
pub fn read(text: &str, source: &str, overrides: &[String]) -> Result<Recipe, RecipeError> {
    let mut origin = Origin { source, lines: lines(text, source)?, overridden: BTreeMap::new() };
    let mut table: Table = text.parse().map_err(|error| origin.syntax(text, &error))?;
    check(&table, "", &origin)?;
    for one in overrides {
        let (path, value) = parse(one)?;
        origin.overridden.insert(path.clone(), one.clone());
        check_key(&path, &value, &origin)?;
        forget_rival(&mut table, &path);
        insert(&mut table, &path, value);
    }
    if lacks(&table, "epochs") && lacks(&table, "steps") {
        insert(&mut table, "train.epochs", Value::Float(10.0));
    }
    resolve(table, &origin)
}

/// Where the values come from.
struct Origin<'a> {
    source: &'a str,
    lines: BTreeMap<String, usize>,
    overridden: BTreeMap<String, String>,
}

impl Origin<'_> {
    fn error(&self, key: &str, message: impl Into<String>, help: impl Into<String>) -> RecipeError {
        let (message, help, key) = (message.into(), help.into(), key.to_owned());
        match self.overridden.get(&key) {
            Some(one) => RecipeError { origin: one.clone(), line: None, key: String::new(), message, help },
            None => {
                let line = self.lines.get(&key).copied();
                RecipeError { origin: self.source.to_owned(), line, key, message, help }
            }
        }
    }

    fn syntax(&self, text: &str, error: &toml::de::Error) -> RecipeError {
        syntax(text, self.source, error)
    }
}

fn syntax(text: &str, source: &str, error: &toml::de::Error) -> RecipeError {
    let line = error.span().map(|span| line_of(text, span.start));
    let message = format!("this is no TOML: {}", error.message());
    let help = "A recipe is made of sections such as [train] and lines such as batch = 128; texts stand in quotes.";
    RecipeError { origin: source.to_owned(), line, key: String::new(), message, help: help.into() }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// The line of each key.
fn lines(text: &str, source: &str) -> Result<BTreeMap<String, usize>, RecipeError> {
    let table = DeTable::parse(text).map_err(|error| syntax(text, source, &error))?;
    let mut lines = BTreeMap::new();
    note(text, table.get_ref(), "", &mut lines);
    Ok(lines)
}

fn note(text: &str, table: &DeTable<'_>, prefix: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = joined(prefix, key.get_ref());
        lines.insert(path.clone(), line_of(text, Spanned::span(key).start));
        if let DeValue::Table(inner) = value.get_ref() {
            note(text, inner, &path, lines);
        }
    }
}

fn joined(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// Checks every key and value of a table.
fn check(table: &Table, prefix: &str, origin: &Origin<'_>) -> Result<(), RecipeError> {
    for (key, value) in table {
        let path = joined(prefix, key);
        match value {
            Value::Table(inner) if is_section(&path) => check(inner, &path, origin)?,
            _ => check_key(&path, value, origin)?,
        }
    }
    Ok(())
}

fn check_key(path: &str, value: &Value, origin: &Origin<'_>) -> Result<(), RecipeError> {
    let key = KEYS.iter().find(|key| key.path == path).ok_or_else(|| unknown(path, origin))?;
    let flaw = key.takes.flaw(value);
    flaw.map_or(Ok(()), |message| Err(origin.error(path, message, format!("{path} takes {}.", key.takes))))
}

fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn unknown(path: &str, origin: &Origin<'_>) -> RecipeError {
    if is_section(path) {
        return origin.error(path, "this is a section, not a key", format!("Name a key in it: {path}.KEY."));
    }
    let (known, distance) = nearest(path);
    let help = match distance <= 3 + path.len() / 4 {
        true => format!("Did you mean {known}? `hanc recipe cat finetune` prints every key."),
        false => "`hanc recipe cat finetune` prints every key.".to_owned(),
    };
    origin.error(path, format!("there is no key {path}"), help)
}

/// The known key that is most like this one, and how far it is away. A name without its section is as near as its name.
fn nearest(path: &str) -> (&'static str, usize) {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &Key| edits(path, key.path).min(1 + edits(&last(path), &last(key.path)));
    let best = KEYS.iter().map(|key| (key.path, distance(key))).min_by_key(|(_, distance)| *distance);
    best.unwrap_or_default()
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let next = (corner + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Path and value of `optimiser.lr=3e-4`. A value that is no TOML is a text.
fn parse(one: &str) -> Result<(String, Value), RecipeError> {
    let wrong = || RecipeError {
        origin: one.to_owned(),
        line: None,
        key: String::new(),
        message: "an override is given as SECTION.KEY=VALUE".into(),
        help: "Write it as train.batch=64.".into(),
    };
    let (path, text) = one.split_once('=').ok_or_else(wrong)?;
    let text = text.trim();
    Ok((path.trim().to_owned(), text.parse().unwrap_or_else(|_| Value::String(text.to_owned()))))
}

/// A length in steps replaces one in epochs, and the other way round.
fn forget_rival(table: &mut Table, path: &str) {
    let rival = match path {
        "train.steps" => "epochs",
        "train.epochs" => "steps",
        _ => return,
    };
    if let Some(Value::Table(train)) = table.get_mut("train") {
        train.remove(rival);
    }
}

fn lacks(table: &Table, key: &str) -> bool {
    table.get("train").and_then(Value::as_table).is_none_or(|train| !train.contains_key(key))
}

/// Sets a value that was checked: its sections are tables or missing.
fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value)),
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// The recipe of a table whose values fit their keys.
fn resolve(table: Table, origin: &Origin<'_>) -> Result<Recipe, RecipeError> {
    let augments = table.get("data").and_then(|data| data.get("augment")).cloned();
    if let Some(Err(error)) = augments.map(Value::try_into::<Vec<super::Augment>>) {
        let help = "The kinds are crop, flip, autoaugment, randaugment and cutout: { kind = \"crop\", padding = 4 }.";
        return Err(origin.error("data.augment", error.message(), help));
    }
    let recipe: Recipe =
        Value::Table(table).try_into().map_err(|error: toml::de::Error| origin.error("", error.message(), ""))?;
    match recipe.flaw() {
        Some((key, message, help)) => Err(origin.error(key, message, help)),
        None => Ok(recipe),
    }
}

impl Recipe {
    /// The recipe as TOML, every key of it.
    pub fn to_toml(&self) -> String {
        // A recipe has no map with other keys than texts, so that it always has a text.
        toml::to_string(self).unwrap_or_default()
    }
}
