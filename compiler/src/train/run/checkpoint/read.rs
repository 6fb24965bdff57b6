//! From the bytes of a file to a checkpoint that is proved whole. Memory is taken once, and no more than the file has.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use hanc_runtime::Tensor;
use sha2::{Digest, Sha256};

use super::{Checkpoint, Entry, FORMAT, Header, hasher, hex, parse};

type Outcome<T> = Result<T, String>;

pub(super) fn read(path: &Path) -> Outcome<Checkpoint> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut file = BufReader::new(file);
    let header = header(&mut file, length)?;
    let Header { texts, table } = serde_json::from_slice(&header).map_err(|error| format!("its header: {error}"))?;
    if texts.format != FORMAT {
        return Err(format!("it has format {}, this program reads {FORMAT}", texts.format));
    }
    let order = gapless(&table, length - 8 - header.len() as u64)?;
    let mut hasher = hasher(&texts.ledger, &table);
    let tensor = |(name, entry): (&String, &Entry)| {
        Ok((name.clone(), tensor(&mut file, entry, &mut hasher).map_err(|e| format!("tensor {name}: {e}"))?))
    };
    let tensors = order.into_iter().map(tensor).collect::<Outcome<_>>()?;
    if hex(hasher.finalize()) != texts.sha256 {
        return Err("its bytes do not have the hash that it says".into());
    }
    let ledger = serde_json::from_str(&texts.ledger).map_err(|error| format!("its state: {error}"))?;
    Ok(Checkpoint { tensors, ledger })
}

fn header(file: &mut impl Read, length: u64) -> Outcome<Vec<u8>> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes).map_err(|_| "it is cut off")?;
    let header = u64::from_le_bytes(bytes);
    if header > length - 8 {
        return Err("it is cut off, or no checkpoint".into());
    }
    take(file, usize::try_from(header).map_err(|e| e.to_string())?)
}

fn take(file: &mut impl Read, count: usize) -> Outcome<Vec<u8>> {
    let mut bytes = vec![0; count];
    file.read_exact(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The tensors in the order of their data, which they cover without gap or overlap.
fn gapless(table: &BTreeMap<String, Entry>, data: u64) -> Outcome<Vec<(&String, &Entry)>> {
    let mut order: Vec<_> = table.iter().collect();
    order.sort_by_key(|(_, entry)| entry.data_offsets);
    let follow = |end: usize, (_, entry): &(&String, &Entry)| {
        let [from, to] = entry.data_offsets;
        (from == end && to >= from).then_some(to)
    };
    match order.iter().try_fold(0, follow) {
        Some(end) if end as u64 == data => Ok(order),
        Some(_) => Err("it is cut off".into()),
        None => Err("its tensors do not follow each other".into()),
    }
}

fn tensor(file: &mut impl Read, entry: &Entry, hasher: &mut Sha256) -> Outcome<Tensor> {
    let dtype = parse(&entry.dtype).ok_or_else(|| format!("{} is no type", entry.dtype))?;
    let [from, to] = entry.data_offsets;
    let bytes = take(file, to - from)?;
    hasher.update(&bytes);
    Tensor::new(dtype, &entry.shape, bytes).map_err(|error| error.to_string())
}
