//! Tables of text. Columns stand between commas, semicolons, tabulators or blanks; the last one is the target unless the
//! options say otherwise.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::bytes;
use crate::dataset::Which;
use crate::error::DataError;
use crate::labels::Labels;
use crate::options::{OpenOptions, Task};
use crate::store::{Loaded, Samples, Store};
use crate::table::Table;

use super::arrays::LARGEST_CLASS;

const EXTENSIONS: [&str; 3] = ["csv", "tsv", "txt"];

/// A file by its ending; a folder with a file for training, or with one table alone.
pub(super) fn detect(path: &Path) -> bool {
    if path.is_dir() { !tables(path).is_empty() } else { is_table(path) }
}

pub(super) fn load(path: &Path, options: &OpenOptions) -> Result<Loaded, DataError> {
    let files = if path.is_dir() { tables(path) } else { vec![(Which::Train, path.to_owned())] };
    let mut plan = None;
    let read = |(which, file): &(Which, PathBuf)| Ok((*which, file.clone(), part(file, options, &mut plan)?));
    let parts = files.iter().map(read).collect::<Result<Vec<_>, DataError>>()?;
    let Some(plan) = plan else {
        return Err(DataError::unknown(path, "the folder has no table for training"));
    };
    let texts = parts.iter().flat_map(|(_, _, part)| &part.texts);
    let classes = if plan.classes { class_names(texts) } else { Vec::new() };
    let store = |(which, file, part): (Which, PathBuf, Part)| Ok((which, plan.store(&file, part, &classes)?));
    let parts = parts.into_iter().map(store).collect::<Result<_, DataError>>()?;
    Ok(Loaded { parts, classes, split: None })
}

fn is_table(path: &Path) -> bool {
    let name = super::name_of(path);
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').is_some_and(|(_, ending)| EXTENSIONS.contains(&ending))
}

/// The tables of a folder that a split's name; if there are none, its only one.
fn tables(folder: &Path) -> Vec<(Which, PathBuf)> {
    let files: Vec<_> = super::files(folder).into_iter().filter(|path| is_table(path)).collect();
    let split = |path: &PathBuf| Some((super::which(&super::name_of(path))?, path.clone()));
    let splits: Vec<_> = files.iter().filter_map(split).collect();
    match files.as_slice() {
        [only] if splits.is_empty() => vec![(Which::Train, only.clone())],
        _ if splits.iter().any(|(which, _)| *which == Which::Train) => splits,
        _ => Vec::new(),
    }
}

/// What the columns are.
struct Plan {
    columns: usize,
    targets: Vec<usize>,
    classes: bool,
}

/// What a file holds.
#[derive(Default)]
struct Part {
    features: Vec<f32>,
    numbers: Vec<f32>,
    texts: Vec<String>,
}

fn part(path: &Path, options: &OpenOptions, plan: &mut Option<Plan>) -> Result<Part, DataError> {
    let bytes = bytes::open(path, options.limit)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| DataError::malformed(path, format!("byte {}", e.valid_up_to()), "it is no text in UTF-8"))?;
    let (mut part, mut names) = (Part::default(), None);
    let mut first = true;
    records(path, text.trim_start_matches('\u{feff}'), |line, cells| {
        if std::mem::take(&mut first) && options.header.unwrap_or_else(|| is_header(cells)) {
            names = Some(cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
            return Ok(());
        }
        let plan = match plan {
            Some(plan) => plan,
            None => plan.insert(Plan::new(names.as_deref().unwrap_or_default(), cells, options)?),
        };
        plan.add(&mut part, cells).map_err(|(column, message)| {
            DataError::malformed(path, format!("line {line}, column {}", column + 1), message)
        })
    })?;
    Ok(part)
}

/// Calls back with the number and the cells of every line.
fn records(
    path: &Path,
    text: &str,
    mut each: impl FnMut(u64, &[&str]) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let Some(delimiter) = delimiter(text) else {
        let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
        return lines.into_iter().try_for_each(|(line, n)| each(n, &line.split_whitespace().collect::<Vec<_>>()));
    };
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).flexible(true).delimiter(delimiter).trim(csv::Trim::All);
    for record in reader.from_reader(text.as_bytes()).records() {
        let record = record.map_err(|e| DataError::malformed(path, "table", e.to_string()))?;
        each(record.position().map_or(0, csv::Position::line), &record.iter().collect::<Vec<_>>())?;
    }
    Ok(())
}

/// The most frequent of tabulator, semicolon and comma in the first line; `None` for blanks.
fn delimiter(text: &str) -> Option<u8> {
    let line = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#'))?;
    let count = |delimiter: &u8| line.bytes().filter(|byte| byte == delimiter).count();
    let best = [b'\t', b';', b','].into_iter().max_by_key(count).filter(|best| count(best) > 0);
    best.or_else(|| (line.split_whitespace().count() < 2).then_some(b','))
}

fn number(cell: &str) -> Option<f32> {
    cell.parse::<f32>().ok().filter(|value| value.is_finite())
}

fn is_header(cells: &[&str]) -> bool {
    cells.iter().all(|cell| number(cell).is_none())
}

impl Plan {
    fn new(names: &[String], cells: &[&str], options: &OpenOptions) -> Result<Plan, DataError> {
        let columns = cells.len();
        let targets = targets(options.target.as_deref().unwrap_or("-1"), names, columns)?;
        let classes = match (options.task, targets.as_slice()) {
            (Some(Task::Classes), [_]) => true,
            (Some(Task::Classes), _) => {
                return Err(DataError::option("task classes", "classes stand in one column"));
            }
            (None, [only]) => number(cells[*only]).is_none(),
            _ => false,
        };
        if targets.len() >= columns {
            return Err(DataError::option("target", format!("of {columns} columns none is left for inputs")));
        }
        Ok(Plan { columns, targets, classes })
    }

    fn add(&self, part: &mut Part, cells: &[&str]) -> Result<(), (usize, String)> {
        if cells.len() != self.columns {
            return Err((cells.len(), format!("the line has {} columns, others have {}", cells.len(), self.columns)));
        }
        let value = |column: usize| {
            number(cells[column]).ok_or_else(|| (column, format!("{:?} is no number", shortened(cells[column]))))
        };
        for column in (0..self.columns).filter(|column| !self.targets.contains(column)) {
            part.features.push(value(column)?);
        }
        for column in &self.targets {
            match self.classes {
                true => part.texts.push(cells[*column].to_owned()),
                false => part.numbers.push(value(*column)?),
            }
        }
        Ok(())
    }

    fn store(&self, path: &Path, part: Part, classes: &[String]) -> Result<Store, DataError> {
        let inputs = self.columns - self.targets.len();
        let name = path.display().to_string();
        let table = Table::new(vec![inputs], part.features);
        let table = table.ok_or_else(|| DataError::inconsistent(&name, "its rows are not whole"))?;
        let labels = match (self.classes, self.targets.len()) {
            (true, _) => Labels::Classes(part.texts.iter().map(|text| class_of(text, classes)).collect()),
            (false, 0) => Labels::None,
            (false, width) => Labels::Targets { width, data: part.numbers },
        };
        Store::new(&name, Samples::Table(table), labels)
    }
}

fn shortened(cell: &str) -> String {
    cell.chars().take(40).collect()
}

/// The columns that a text such as `quality`, `-2,-1` or `none` names.
fn targets(text: &str, names: &[String], columns: usize) -> Result<Vec<usize>, DataError> {
    if text == "none" && !names.iter().any(|name| name == text) {
        return Ok(Vec::new());
    }
    let column = |name: &str| {
        let named = names.iter().position(|other| other == name);
        let numbered = || {
            let number = name.parse::<i64>().ok()?;
            let at = if number < 0 { number.checked_add(columns as i64)? } else { number };
            usize::try_from(at).ok()
        };
        named.or_else(numbered).filter(|at| *at < columns)
    };
    let parts = text.split(',').map(str::trim);
    let found = parts.map(|name| {
        column(name).ok_or_else(|| {
            let known = if names.is_empty() { String::new() } else { format!(", named {}", names.join(", ")) };
            DataError::option(format!("target {name}"), format!("there are {columns} columns{known}"))
        })
    });
    let found = found.collect::<Result<BTreeSet<_>, _>>()?;
    Ok(found.into_iter().collect())
}

/// Names of the classes: whole numbers from 0 are classes as they stand, other texts are sorted.
fn class_names<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let distinct: BTreeSet<_> = texts.collect();
    let numbers: Option<BTreeSet<i64>> = distinct.iter().map(|text| text.parse().ok()).collect();
    match numbers {
        Some(numbers) if numbers.iter().all(|class| (0..LARGEST_CLASS).contains(class)) => {
            let most = numbers.last().map_or(0, |most| most + 1);
            (0..most).map(|class| class.to_string()).collect()
        }
        _ => distinct.into_iter().cloned().collect(),
    }
}

fn class_of(text: &str, classes: &[String]) -> i64 {
    let own = || classes.binary_search_by(|name| name.as_str().cmp(text)).ok();
    let numbered =
        text.parse::<usize>().ok().filter(|class| classes.get(*class).is_some_and(|name| name.parse() == Ok(*class)));
    // Every text is among the classes that were made of all texts.
    numbered.or_else(own).map_or(-1, |class| class as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, open};

    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new(files: &[(&str, &str)]) -> Scratch {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
            Scratch(dir)
        }

        fn open(&self, file: &str, options: &OpenOptions) -> Result<Dataset, DataError> {
            open(self.0.path().join(file).to_str().unwrap(), options)
        }
    }

    fn one(text: &str, options: &OpenOptions) -> Result<Dataset, DataError> {
        Scratch::new(&[("x.csv", text)]).open("x.csv", options)
    }

    fn rows(data: &Dataset) -> Vec<f32> {
        let Samples::Table(table) = &data.split(Which::Train).unwrap().store.samples else { panic!("no table") };
        (0..table.len()).flat_map(|row| table.row(row as u32).to_vec()).collect()
    }

    fn labels(data: &Dataset) -> Labels {
        data.split(Which::Train).unwrap().store.labels.clone()
    }

    #[test]
    fn the_last_column_is_the_target() {
        let data = one("1,2,3\n4,5,6.5\n", &OpenOptions::default()).unwrap();
        assert_eq!((rows(&data), data.shape()), (vec![1.0, 2.0, 4.0, 5.0], Some(vec![2])));
        assert_eq!(labels(&data), Labels::Targets { width: 1, data: vec![3.0, 6.5] });
    }

    #[test]
    fn headers_quotes_and_delimiters_are_understood() {
        let options = OpenOptions { target: Some("kind".into()), ..Default::default() };
        let data = one("kind;\"a;b\";c\n\"x y\";1;2\r\nw;3;4\n", &options).unwrap();
        assert_eq!((rows(&data), data.classes()), (vec![1.0, 2.0, 3.0, 4.0], &["w".to_owned(), "x y".to_owned()][..]));
        assert_eq!(labels(&data), Labels::Classes(vec![1, 0]));
        let blanks = Scratch::new(&[("x.txt", " 1  2 3\n\n4 5\t6\n")]);
        let options = OpenOptions { target: Some("-2,-1".into()), ..Default::default() };
        // The tabulator is not in the first line, so blanks of any kind separate.
        let data = blanks.open("x.txt", &options).unwrap();
        assert_eq!(labels(&data), Labels::Targets { width: 2, data: vec![2.0, 3.0, 5.0, 6.0] });
    }

    #[test]
    fn classes_that_are_numbers_stay() {
        let options = OpenOptions { task: Some(Task::Classes), ..Default::default() };
        let data = one("1,0\n2,2\n3,10\n", &options).unwrap();
        assert_eq!((labels(&data), data.classes().len()), (Labels::Classes(vec![0, 2, 10]), 11));
        let data = one("1,10\n2,-2\n3,10\n", &options).unwrap();
        assert_eq!(labels(&data), Labels::Classes(vec![1, 0, 1]));
        let unlabelled = OpenOptions { target: Some("none".into()), ..Default::default() };
        assert_eq!(labels(&one("1,0\n2,2\n", &unlabelled).unwrap()), Labels::None);
    }

    #[test]
    fn a_folder_has_a_table_a_split() {
        let files = [("trainset.txt", "1 a\n2 b\n"), ("testset.txt", "3 c\n"), ("notes.txt", "no table at all\n")];
        let folder = Scratch::new(&files);
        let data = folder.open("", &OpenOptions::default()).unwrap();
        assert_eq!(data.classes(), ["a", "b", "c"]);
        assert_eq!(data.split(Which::Test).unwrap().class(0), Some(2));
    }

    #[test]
    fn standardising_uses_all_rows() {
        let options = OpenOptions { standardise: true, fractions: Some([0.5, 0.0, 0.5]), ..Default::default() };
        let data = one("1,7,0\n3,7,0\n5,7,0\n3,7,0\n", &options).unwrap();
        assert_eq!(data.columns().unwrap().kept, [0]);
        let mut all = rows(&data);
        all.sort_by(f32::total_cmp);
        let end = (2.0 / (8.0f64 / 3.0).sqrt()) as f32;
        assert_eq!(all, [-end, 0.0, 0.0, end]);
    }

    #[test]
    fn errors_name_line_and_column() {
        let cases = [
            ("1,2\n3,x,4\n", "line 2, column 4"),
            ("1,2,3\n4,nan,6\n", "line 2, column 2"),
            ("1,2,3\n4,,6\n", "line 2, column 2"),
            ("1,2,3\n4,5,six\n", "line 2, column 3"),
        ];
        for (text, place) in cases {
            let error = one(text, &OpenOptions::default()).unwrap_err();
            assert!(error.to_string().contains(place), "{error}");
        }
        let options = |target: &str| OpenOptions { target: Some(target.into()), ..Default::default() };
        for target in ["y", "3", "-4", "0,1,2", "9223372036854775807", "-9223372036854775808", ""] {
            assert!(matches!(one("1,2,3\n", &options(target)), Err(DataError::Option { .. })), "{target}");
        }
        assert!(one("", &OpenOptions::default()).is_err());
        assert!(one("a,b\n", &OpenOptions::default()).is_err());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.csv"), b"1,2\n\xff,3\n").unwrap();
        let error = open(dir.path().join("x.csv").to_str().unwrap(), &OpenOptions::default()).unwrap_err();
        assert!(error.to_string().contains("byte 4"), "{error}");
    }
}
