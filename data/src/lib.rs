//! Data for training: sets of samples in the usual formats, their splits, transforms and augmentation, and a loader.
//!
//! Everything random is a function of a seed, an epoch and the number of a sample (or of a step): neither threads nor the
//! place where a run is taken up again change a bit of a batch.
//!
//! ```
//! use hanc_data::{Loader, LoaderOptions, OpenOptions, Transform, TransformOptions};
//!
//! let data = hanc_data::open("synth:checkerboard", &OpenOptions::default())?;
//! let train = data.split(hanc_data::Which::Train).expect("it has a training split");
//! let transform = Transform::new(&TransformOptions::default(), &data)?;
//! let mut loader = Loader::new(train, &transform, LoaderOptions { batch: 100, ..Default::default() })?;
//! let batch = loader.next_batch()?.expect("shuffled batches do not end");
//! assert_eq!(batch.x.len(), 100 * 2);
//! # Ok::<(), hanc_data::DataError>(())
//! ```

pub mod array;
pub mod augment;
mod batch;
mod bytes;
pub mod check;
mod dataset;
mod error;
mod format;
mod labels;
mod loader;
mod npy;
mod options;
mod order;
mod picture;
mod random;
pub mod sheet;
mod split;
mod store;
mod synth;
mod table;
mod transform;

pub use augment::Augment;
pub use batch::Batch;
pub use dataset::{Dataset, Split, Which, open};
pub use error::DataError;
pub use format::Format;
pub use labels::Labels;
pub use loader::{Loader, LoaderOptions, Position};
pub use options::{OpenOptions, Task};
pub use order::Order;
pub use picture::Picture;
pub use transform::{Normalise, Transform, TransformOptions};
