//! Archives of tensors.

use std::collections::BTreeMap;
use std::path::Path;

use npyz::npz::NpzArchive;
use npyz::{DType, NpyFile, TypeChar};

/// A tensor, its numbers widened to f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Shape.
    pub shape: Vec<usize>,
    /// Numbers in row-major order.
    pub values: Vec<f64>,
}

/// All arrays of the archive at `path`.
pub fn read(path: &Path) -> std::io::Result<BTreeMap<String, Array>> {
    let mut archive = NpzArchive::open(path)?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    let mut arrays = BTreeMap::new();
    for name in names {
        if let Some(file) = archive.by_name(&name)? {
            arrays.insert(name, array(file)?);
        }
    }
    Ok(arrays)
}

fn array<R: std::io::Read>(file: NpyFile<R>) -> std::io::Result<Array> {
    let shape = file.shape().iter().map(|dim| *dim as usize).collect();
    let DType::Plain(kind) = file.dtype() else { return Err(std::io::Error::other("an array of records")) };
    let values = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 2) => file.into_vec::<half::f16>()?.into_iter().map(f64::from).collect(),
        (TypeChar::Float, 4) => file.into_vec::<f32>()?.into_iter().map(f64::from).collect(),
        (TypeChar::Float, 8) => file.into_vec::<f64>()?,
        (TypeChar::Int, 8) => file.into_vec::<i64>()?.into_iter().map(|x| x as f64).collect(),
        (TypeChar::Int, 4) => file.into_vec::<i32>()?.into_iter().map(f64::from).collect(),
        (TypeChar::Uint, 1) => file.into_vec::<u8>()?.into_iter().map(f64::from).collect(),
        _ => return Err(std::io::Error::other(format!("numbers of type {kind}"))),
    };
    Ok(Array { shape, values })
}
