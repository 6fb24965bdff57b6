//! Sparse initializers: checked, and kept in the file. Their elements stay unknown to the graph.

use hanc_proto::onnx::SparseTensorProto;
use hanc_proto::onnx::tensor_proto::DataType;
use hanc_proto::{Error, ModelFile};

/// The sizes of a sparse tensor whose parts fit together; otherwise what does not.
pub(super) fn sizes(file: &ModelFile, tensor: &SparseTensorProto) -> Result<Result<Vec<usize>, String>, Error> {
    let (Some(values), Some(indices)) = (&tensor.values, &tensor.indices) else {
        return Ok(Err("it has no values or no indices".into()));
    };
    let (values, places) = (file.tensor(values)?, file.tensor(indices)?);
    let integers: Vec<i64> = places.bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    let whole = places.dtype == DataType::Int64 as i32;
    Ok(match whole {
        true => fit(&tensor.dims, &values.dims, &places.dims, &integers),
        false => Err("its indices are not of type int64".into()),
    })
}

fn fit(dims: &[i64], values: &[usize], places: &[usize], indices: &[i64]) -> Result<Vec<usize>, String> {
    let sizes: Option<Vec<usize>> = dims.iter().map(|&n| usize::try_from(n).ok()).collect();
    let sizes = sizes.filter(|sizes| !sizes.is_empty()).ok_or(format!("its sizes {dims:?} are not all sizes"))?;
    let count = dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d)).ok_or(format!("its sizes {dims:?} overflow"))?;
    let &[given] = values else { return Err(format!("its values have the shape {values:?}, not one dimension")) };
    let inside = match places {
        [n] if *n == given => indices.iter().all(|i| (0..count).contains(i)),
        [n, rank] if *n == given && *rank == dims.len() => {
            let mut rows = indices.chunks_exact(dims.len());
            rows.all(|row| row.iter().zip(dims).all(|(i, size)| (0..*size).contains(i)))
        }
        _ => return Err(format!("{given} values and indices of shape {places:?} do not fit its sizes {dims:?}")),
    };
    if inside { Ok(sizes) } else { Err(format!("an index lies outside its sizes {dims:?}")) }
}
