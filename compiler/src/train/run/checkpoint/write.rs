//! From a state to the bytes of a checkpoint. Tensors are read twice, for the hash and for the file, and never copied.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result, Write};

use sha2::Digest;

use super::{Entry, FORMAT, Header, Ledger, Texts, hasher, hex, spell};
use crate::train::run::task::{Saved, State};

/// The header ends at a multiple of this, so that tensors are aligned in the file.
const ALIGNMENT: usize = 8;

pub(super) fn write(out: &mut dyn Write, state: &State<'_>, ledger: &Ledger) -> Result<()> {
    let tensors = ordered(state);
    let table = table(&tensors)?;
    let ledger = serde_json::to_string(ledger)?;
    let mut hasher = hasher(&ledger, &table);
    tensors.iter().for_each(|(_, saved)| hasher.update(&saved.bytes));
    let sha256 = hex(hasher.finalize());
    let header = Header { texts: Texts { format: FORMAT.into(), sha256, ledger }, table };
    let mut header = serde_json::to_string(&header)?;
    let spaces = header.len().next_multiple_of(ALIGNMENT) - header.len();
    header.extend(std::iter::repeat_n(' ', spaces));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    tensors.iter().try_for_each(|(_, saved)| out.write_all(&saved.bytes))
}

/// Large elements first: every tensor begins at a multiple of its element's size.
fn ordered<'s>(state: &'s State<'_>) -> Vec<(&'s str, &'s Saved<'s>)> {
    let mut tensors: Vec<_> = state.iter().map(|(name, saved)| (name.as_str(), saved)).collect();
    tensors.sort_by_key(|(_, saved)| Reverse(saved.dtype.bytes_of(1)));
    tensors
}

fn table(tensors: &[(&str, &Saved<'_>)]) -> Result<BTreeMap<String, Entry>> {
    let (mut table, mut end) = (BTreeMap::new(), 0);
    for (name, saved) in tensors {
        let bytes = hanc_runtime::tensor::elements(&saved.shape).and_then(|count| saved.dtype.bytes_of(count));
        if bytes != Some(saved.bytes.len()) || name.starts_with("__") {
            let message = format!("tensor {name} is no {}{:?}", saved.dtype, saved.shape);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let data_offsets = [end, end + saved.bytes.len()];
        end = data_offsets[1];
        table.insert((*name).to_owned(), Entry { dtype: spell(saved.dtype), shape: saved.shape.clone(), data_offsets });
    }
    Ok(table)
}
