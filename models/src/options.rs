//! The text that names a model, such as `stem-mixer,mlp=4,seed=1`, and the options in it.

use crate::error::Error;
use crate::net::Net;

/// A model of the zoo.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it is, in one line.
    pub doc: &'static str,
    /// Its options; every model has `seed` besides.
    pub options: &'static [&'static Opt],
    pub(crate) draw: fn(&Options, &mut Net) -> Result<(), Error>,
}

/// An option of a model.
pub struct Opt {
    /// Its name.
    pub name: &'static str,
    /// The value that it has where none is given.
    pub default: &'static str,
    /// What it sets, in one line.
    pub doc: &'static str,
}

/// The option that every model has.
pub static SEED: Opt = Opt { name: "seed", default: "0", doc: "seed of the random weights" };

impl Entry {
    /// All options: the model's own, then `seed`.
    pub fn all_options(&self) -> impl Iterator<Item = &'static Opt> + use<> {
        self.options.iter().copied().chain(std::iter::once(&SEED))
    }
}

/// The values of a model's options.
pub struct Options {
    model: &'static str,
    values: Vec<(&'static Opt, String)>,
}

impl Options {
    /// Reads `name=value` texts; options that are not given have their defaults.
    pub(crate) fn parse<'a>(entry: &Entry, given: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        let mut options = Options { model: entry.name, values: Vec::new() };
        for text in given {
            let (name, value) = text.split_once('=').unwrap_or((text, "true"));
            options.set(entry, name.trim(), value.trim())?;
        }
        Ok(options)
    }

    fn set(&mut self, entry: &Entry, name: &str, value: &str) -> Result<(), Error> {
        let unknown = || Error::UnknownOption {
            model: self.model,
            option: name.to_owned(),
            known: entry.all_options().map(|option| option.name).collect(),
        };
        let option = entry.all_options().find(|option| option.name == name).ok_or_else(unknown)?;
        if self.values.iter().any(|(other, _)| other.name == option.name) {
            return Err(Error::Repeated { model: self.model, option: option.name });
        }
        self.values.push((option, value.to_owned()));
        Ok(())
    }

    fn text(&self, entry_option: &'static Opt) -> &str {
        let given = self.values.iter().find(|(option, _)| option.name == entry_option.name);
        given.map_or(entry_option.default, |(_, value)| value)
    }

    /// The whole number of `option`, which must lie in `range`.
    pub(crate) fn number(&self, option: &'static Opt, range: std::ops::RangeInclusive<u64>) -> Result<usize, Error> {
        let number = self.text(option).parse().ok().filter(|number| range.contains(number));
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        number.map(|number| number as usize).ok_or_else(|| self.bad(option, expected()))
    }

    /// The number of `option`, which must lie in `range` and be a multiple of `unit`.
    pub(crate) fn multiple(
        &self,
        option: &'static Opt,
        unit: usize,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<usize, Error> {
        let number = self.number(option, range.clone())?;
        let expected = || format!("a multiple of {unit} from {} to {}", range.start(), range.end());
        if number % unit == 0 { Ok(number) } else { Err(self.bad(option, expected())) }
    }

    /// The seed: any whole number of 64 bits.
    pub(crate) fn seed(&self) -> Result<u64, Error> {
        self.text(&SEED).parse().map_err(|_| self.bad(&SEED, format!("a whole number from 0 to {}", u64::MAX)))
    }

    /// Whether `option` is on.
    pub(crate) fn flag(&self, option: &'static Opt) -> Result<bool, Error> {
        match self.text(option) {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.bad(option, "true or false".to_owned())),
        }
    }

    /// Which of `choices` is the value of `option`.
    pub(crate) fn choice(&self, option: &'static Opt, choices: &[&'static str]) -> Result<&'static str, Error> {
        let text = self.text(option);
        let found = choices.iter().copied().find(|choice| *choice == text);
        found.ok_or_else(|| self.bad(option, format!("one of {}", choices.join(", "))))
    }

    /// The error for a value of `option` that is not what it must be.
    pub(crate) fn bad(&self, option: &'static Opt, expected: String) -> Error {
        Error::BadValue { model: self.model, option: option.name, value: self.text(option).to_owned(), expected }
    }
}
