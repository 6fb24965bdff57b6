//! Sets that hanc makes itself: `synth:NAME[,option=value…]`.

use crate::error::DataError;
use crate::options::OpenOptions;
use crate::store::Loaded;

mod grid;
mod shapes;

/// A set: its name, its options with their defaults, and what makes it.
struct Entry {
    name: &'static str,
    options: &'static [(&'static str, usize)],
    make: fn(&[usize], u64) -> Result<Loaded, DataError>,
}

static ENTRIES: [Entry; 3] = [
    Entry { name: "checkerboard", options: &[], make: |_, _| grid::checkerboard() },
    Entry { name: "sine", options: &[], make: |_, _| grid::sine() },
    Entry {
        name: "shapes",
        options: &[("size", 32), ("classes", 4), ("channels", 3), ("count", 1000)],
        make: shapes::shapes,
    },
];

/// Makes a set of a text such as `shapes,size=16`; option `seed` comes before that of the options.
pub(crate) fn load(spec: &str, options: &OpenOptions) -> Result<Loaded, DataError> {
    let mut parts = spec.split(',').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let entry = ENTRIES.iter().find(|entry| entry.name == name).ok_or_else(|| unknown(name))?;
    let mut values: Vec<usize> = entry.options.iter().map(|(_, default)| *default).collect();
    let mut seed = options.seed;
    for part in parts {
        let (key, value) = part.split_once('=').ok_or_else(|| refuse(entry, part, "options are written name=value"))?;
        let number = || value.parse().map_err(|_| refuse(entry, part, "the value is no whole number"));
        match entry.options.iter().position(|(option, _)| *option == key) {
            Some(at) => values[at] = number()? as usize,
            None if key == "seed" => seed = number()?,
            None => return Err(refuse(entry, part, "there is no such option")),
        }
    }
    (entry.make)(&values, seed)
}

fn unknown(name: &str) -> DataError {
    let names: Vec<_> = ENTRIES.iter().map(|entry| entry.name).collect();
    DataError::option(format!("synth:{name}"), format!("there is no such set; there are {}", names.join(", ")))
}

fn refuse(entry: &Entry, part: &str, message: &str) -> DataError {
    let known: Vec<_> = entry.options.iter().map(|(name, default)| format!("{name}={default}")).collect();
    let known = [known, vec!["seed".to_owned()]].concat().join(", ");
    DataError::option(format!("synth:{},{part}", entry.name), format!("{message}; its options are {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_and_options_are_refused() {
        for spec in ["", "chess", "sine,width=3", "shapes,size", "shapes,size=x", "shapes,size=-1", "shapes,classes=99"]
        {
            assert!(matches!(load(spec, &OpenOptions::default()), Err(DataError::Option { .. })), "{spec}");
        }
    }
}
