//! Runs of the built program over many models.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::binary::hanc;

/// What a run of the program ended with.
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// The JSON document on its standard output.
    pub json: Value,
    /// Its standard error.
    pub talk: String,
}

/// Runs `hanc` with `arguments` and `--json`.
pub fn run(arguments: &[&str]) -> Ended {
    let output = Command::new(hanc()).args(arguments).arg("--json").output().expect("hanc starts");
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    Ended { code: output.status.code().unwrap_or(-1), json, talk }
}

impl Ended {
    /// The JSON document of a run that must have been done.
    pub fn done(self, what: &str) -> Value {
        assert_eq!(self.code, 0, "{what}: {} {}", self.json, self.talk);
        self.json
    }
}

/// Runs `hanc run` with arrays from files and returns the archive that it wrote.
pub fn compute(model: &Path, inputs: &Value, out: &Path) -> Result<PathBuf, String> {
    let model_text = model.to_string_lossy();
    let given: Vec<String> = pairs(inputs).map(|(name, path)| format!("{name}={path}")).collect();
    let out_text = out.to_string_lossy();
    let mut arguments = vec!["run", &model_text, "--output", &out_text];
    arguments.extend(given.iter().flat_map(|given| ["--input", given.as_str()]));
    let ended = run(&arguments);
    if ended.code == 0 { Ok(out.to_owned()) } else { Err(format!("{}: {} {}", ended.code, ended.json, ended.talk)) }
}

fn pairs(inputs: &Value) -> impl Iterator<Item = (&String, &str)> {
    let map = inputs.as_object().into_iter().flatten();
    map.filter_map(|(name, path)| path.as_str().map(|path| (name, path)))
}

/// The results of `work` on all `items`, in their order, computed on all processors.
pub fn parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let worker = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < items.len());
        for index in std::iter::from_fn(take) {
            let result = work(&items[index]);
            done.lock().expect("no worker panicked").push((index, result));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
    let mut done = done.into_inner().expect("no worker panicked");
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
