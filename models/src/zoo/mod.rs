//! The models, one family a file.

mod mixer;
mod mobilevit;
mod stem_mixer;
mod tables;

use crate::options::Entry;

/// All models.
pub static ENTRIES: &[Entry] = &[
    stem_mixer::ENTRY,
    mobilevit::XXS,
    mobilevit::XS,
    mobilevit::S,
    tables::HANNET,
    tables::FCNET,
    mixer::S16,
    mixer::B16,
    mixer::ENTRY,
];
