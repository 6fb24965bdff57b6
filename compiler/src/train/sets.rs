//! The samples of a run: opened, split and prepared as the recipe and the model's input say.

use std::sync::Arc;

use hanc_data::{Augment, DataError, Dataset, OpenOptions, Split, Transform, TransformOptions, Which};

use super::recipe::{self, Normalise};
use crate::ir::{Graph, Shape};

/// The samples of a run.
#[derive(Clone)]
pub struct Sets {
    /// What is trained on.
    pub train: Split,
    /// What decides which checkpoint is best.
    pub validation: Option<Split>,
    /// What nothing is decided by.
    pub test: Option<Split>,
    /// How samples are prepared for training.
    pub changed: Arc<Transform>,
    /// How samples are prepared to be judged.
    pub plain: Arc<Transform>,
    /// How samples are prepared to be judged, but for the normalisation: pixels from 0 to 1.
    pub bare: Arc<Transform>,
    /// Names of the classes.
    pub classes: Vec<String>,
}

/// The input of a model that samples go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Sizes of a sample, without the batch.
    pub sample: Vec<usize>,
    /// The batch, where the model fixes it.
    pub batch: Option<usize>,
}

/// Why there are no samples for a model.
#[derive(Debug, thiserror::Error)]
pub enum SetsError {
    /// The data cannot be read or used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model does not take one batch of samples.
    #[error("{0}")]
    Port(String),
    /// Samples do not fit the model's input.
    #[error("samples have the shape {sample:?}, input {name} of the model takes {wanted:?}")]
    Shape {
        /// The input.
        name: String,
        /// Sizes that it takes, without the batch.
        wanted: Vec<usize>,
        /// Sizes of a sample.
        sample: Vec<usize>,
    },
    /// There is nothing to train on.
    #[error("{0} has no samples to train on")]
    Empty(String),
}

impl Port {
    /// The one input of a model that takes a batch of samples.
    pub fn of(graph: &Graph) -> Result<Port, SetsError> {
        let refuse = |message: String| Err(SetsError::Port(message));
        let &[id] = graph.inputs() else {
            let wanted = crate::execute::wanted(graph);
            return refuse(format!("samples go to one input, the model takes {wanted}"));
        };
        let value = graph.value(id);
        if !value.dtype.is_none_or(|dtype| dtype.is_real()) {
            return refuse(format!("samples are numbers, the model takes {}", crate::infer::describe(graph, id)));
        }
        let Some(shape) = value.shape.as_ref().filter(|shape| shape.len() > 1) else {
            return refuse(format!("the shape of input {} says no batch of samples", value.name));
        };
        let batch = shape[0].size().and_then(|n| usize::try_from(n).ok());
        match sample(shape) {
            Some(sample) => Ok(Port { name: value.name.to_string(), sample, batch }),
            None => refuse(format!("input {} has free sizes besides the batch: {shape:?}", value.name)),
        }
    }

    /// Channels, height and width, where it takes pictures.
    pub fn picture(&self) -> Option<[usize; 3]> {
        self.sample.as_slice().try_into().ok()
    }

    /// The shape of a batch.
    pub fn shape(&self, batch: usize) -> Vec<usize> {
        [&[batch], &self.sample[..]].concat()
    }
}

/// The sizes behind the batch.
fn sample(shape: &Shape) -> Option<Vec<usize>> {
    shape[1..].iter().map(|dim| usize::try_from(dim.size()?).ok()).collect()
}

impl Sets {
    /// Opens what a recipe names.
    pub fn open(data: &recipe::Data, seed: u64, port: &Port) -> Result<Sets, SetsError> {
        let set = opened(data, seed)?;
        let other = |spec: &str| -> Result<Option<Split>, SetsError> {
            let all = hanc_data::open(spec, &OpenOptions { seed, ..options(data) })?;
            Ok(all.splits().last().map(|(_, split)| split.clone()))
        };
        let train = set.split(Which::Train).or_else(|| set.splits().next().map(|(_, split)| split)).cloned();
        let train = train.ok_or_else(|| SetsError::Empty(data.path.clone()))?;
        let of = |spec: &str, which: Which| match spec {
            "" => Ok(set.split(which).cloned()),
            spec => other(spec),
        };
        let (validation, test) = (of(&data.validation, Which::Validation)?, of(&data.test, Which::Test)?);
        let options = |augment: &[Augment]| prepared(data, port, &set, augment.to_vec());
        let changed = Transform::of_split(&options(&data.augment), &train)?;
        let plain = changed.without_augmentation();
        let bare = TransformOptions { normalise: hanc_data::Normalise::None, ..options(&[]) };
        let bare = Transform::of_split(&bare, &train)?;
        let sample = plain.shape();
        if sample.iter().product::<usize>() != port.sample.iter().product::<usize>() {
            let (name, wanted) = (port.name.clone(), port.sample.clone());
            return Err(SetsError::Shape { name, wanted, sample: sample.to_vec() });
        }
        Ok(Sets { train, validation, test, changed, plain, bare, classes: set.classes().to_vec() })
    }
}

/// Tables are standardised where pictures would be normalised by their own mean and deviation.
fn options(data: &recipe::Data) -> OpenOptions {
    let table = data.path.to_lowercase().ends_with(".csv");
    OpenOptions { standardise: table && data.normalise == Normalise::Training, ..OpenOptions::default() }
}

/// The set with the splits that its files say; those that they do not say, or all if the recipe pools them, have the
/// recipe's shares.
fn opened(data: &recipe::Data, seed: u64) -> Result<Dataset, SetsError> {
    let [train, validation, test] = data.split;
    let share = |elsewhere: &str, share: f64| if elsewhere.is_empty() { share } else { 0.0 };
    let shares = [train, share(&data.validation, validation), share(&data.test, test)];
    let fractions = (data.pool || data.path.starts_with("synth:")).then_some(shares);
    let own = OpenOptions { seed, fractions, shares: Some(shares).filter(|_| fractions.is_none()), ..options(data) };
    Ok(hanc_data::open(&data.path, &own)?)
}

fn prepared(data: &recipe::Data, port: &Port, set: &Dataset, augment: Vec<Augment>) -> TransformOptions {
    let pictures = set.format() != hanc_data::Format::Csv && set.shape().is_none_or(|shape| shape.len() == 3);
    let picture = port.picture().filter(|_| pictures);
    let size = match data.resize[..] {
        [height, width] => Some([height, width]),
        _ => picture.map(|[_, height, width]| [height, width]),
    };
    let channels = picture.map(|[channels, ..]| channels).filter(|n| [1, 3].contains(n));
    let normalise = match data.normalise {
        Normalise::None => hanc_data::Normalise::None,
        Normalise::Training if pictures => hanc_data::Normalise::Measured,
        Normalise::Training => hanc_data::Normalise::None,
        Normalise::Imagenet => hanc_data::Normalise::Imagenet,
        Normalise::Given => hanc_data::Normalise::Given {
            mean: data.mean.iter().map(|x| *x as f32).collect(),
            deviation: data.deviation.iter().map(|x| *x as f32).collect(),
        },
    };
    TransformOptions { size: size.filter(|_| pictures), channels, normalise, augment }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooled_samples_are_drawn_from_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, rows: usize| {
            let rows: String = (0..rows).map(|i| format!("{i},{},0.5\n", i * i)).collect();
            std::fs::write(folder.path().join(name), rows).unwrap();
        };
        write("train.csv", 6);
        write("test.csv", 4);
        let port = Port { name: "x".into(), sample: vec![2], batch: None };
        let path = folder.path().to_string_lossy().into_owned();
        let sizes = |pool: bool| {
            let data = recipe::Data { path: path.clone(), split: [0.3, 0.0, 0.7], pool, ..recipe::Data::default() };
            let sets = Sets::open(&data, 1, &port).unwrap();
            (sets.train.len(), sets.test.map(|split| split.len()))
        };
        assert_eq!((sizes(false), sizes(true)), ((6, Some(4)), (3, Some(7))));
    }
}
