//! Matrix products by cuBLASLt. It holds matrices by columns: a row-major matrix is the transpose of one, so that
//! yᵀ = bᵀ aᵀ is computed, its left operand b and its right one a.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::result::{self as lt, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulPreferenceAttributes_t as Preference,
    cublasLtMatrixLayoutAttribute_t as Layout,
};
use cudarc::driver::{result as driver, sys as cuda};

use crate::cuda::driver::{Address, DeviceError, Matrix, Product};

/// Bytes that algorithms may use.
const WORKSPACE: usize = 32 << 20;

/// A handle with its workspace and what was prepared.
pub(super) struct Blas {
    handle: sys::cublasLtHandle_t,
    stream: cuda::CUstream,
    workspace: Address,
    prepared: Mutex<HashMap<Key, Prepared>>,
}

/// What an algorithm depends on: sizes, steps and alignments.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    sizes: [usize; 4],
    steps: [(usize, usize, bool); 3],
    aligned: [u32; 3],
    bias: bool,
    adds: bool,
}

#[derive(Clone, Copy)]
struct Prepared {
    product: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

fn failed(error: CublasError) -> DeviceError {
    DeviceError(format!("cuBLASLt: {:?}", error.0))
}

/// Sets an attribute by one of these functions.
macro_rules! set {
    ($function:path, $of:expr, $attribute:expr, $value:expr) => {{
        let value = $value;
        // SAFETY: the attribute has the type of the value.
        unsafe { $function($of, $attribute, (&raw const value).cast(), size_of_val(&value)) }.map_err(failed)?
    }};
}

fn steps(matrix: &Matrix<Address>) -> (usize, usize, bool) {
    (matrix.row, matrix.next, matrix.transposed)
}

/// The greatest power of two up to 256 that divides an address.
fn alignment(at: Address) -> u32 {
    1 << at.trailing_zeros().min(8)
}

impl Blas {
    pub fn new(stream: cuda::CUstream) -> Result<Blas, DeviceError> {
        let handle = lt::create_handle().map_err(failed)?;
        // SAFETY: algorithms write it before they read it.
        let workspace = unsafe { driver::malloc_sync(WORKSPACE) }.map_err(super::failed)?;
        Ok(Blas { handle, stream, workspace, prepared: Mutex::default() })
    }

    /// Gives everything back.
    ///
    /// # Safety
    /// No product runs any more, and none is given after it.
    pub unsafe fn close(&self) {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller vouches for it.
        unsafe {
            for (_, one) in prepared.drain() {
                let _ = lt::destroy_matmul_desc(one.product);
                one.layouts.into_iter().for_each(|layout| _ = lt::destroy_matrix_layout(layout));
            }
            let _ = lt::destroy_handle(self.handle);
            let _ = driver::free_sync(self.workspace);
        }
    }

    /// Gives a product.
    pub fn run(&self, p: &Product<Address>) -> Result<(), DeviceError> {
        if p.batch * p.m * p.n == 0 {
            return Ok(());
        }
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key {
            sizes: [p.batch, p.m, p.n, p.k],
            steps: [steps(&p.a), steps(&p.b), steps(&p.y)],
            aligned: [p.a.at, p.b.at, p.y.at].map(alignment),
            bias: p.bias.is_some(),
            adds: p.beta != 0.0,
        };
        let one = match prepared.get(&key) {
            Some(found) => *found,
            None => {
                let new = self.prepare(p)?;
                prepared.insert(key, new);
                new
            }
        };
        if let Some(bias) = p.bias {
            set!(lt::set_matmul_desc_attribute, one.product, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
        }
        let [b, a, y] = one.layouts;
        // SAFETY: the layouts are those of the matrices, which lie in memory that is allocated.
        unsafe {
            lt::matmul(
                self.handle,
                one.product,
                (&raw const p.alpha).cast(),
                (&raw const p.beta).cast(),
                p.b.at as *const c_void,
                b,
                p.a.at as *const c_void,
                a,
                p.y.at as *const c_void,
                y,
                p.y.at as *mut c_void,
                y,
                &one.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                self.stream.cast(),
            )
        }
        .map_err(failed)
    }

    fn prepare(&self, p: &Product<Address>) -> Result<Prepared, DeviceError> {
        let product =
            lt::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, sys::cudaDataType_t::CUDA_R_32F);
        let product = product.map_err(failed)?;
        // CUBLAS_OP_N and CUBLAS_OP_T.
        let operation = |transposed: bool| i32::from(transposed);
        let of = lt::set_matmul_desc_attribute;
        set!(of, product, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, operation(p.b.transposed));
        set!(of, product, Attribute::CUBLASLT_MATMUL_DESC_TRANSB, operation(p.a.transposed));
        if p.bias.is_some() {
            let added = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            set!(of, product, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, added);
        }
        let layouts = [
            layout(&p.b, p.batch, if p.b.transposed { (p.k, p.n) } else { (p.n, p.k) })?,
            layout(&p.a, p.batch, if p.a.transposed { (p.m, p.k) } else { (p.k, p.m) })?,
            layout(&p.y, p.batch, (p.n, p.m))?,
        ];
        let algorithm = self.algorithm(p, product, layouts)?;
        Ok(Prepared { product, layouts, algorithm })
    }

    fn algorithm(
        &self,
        p: &Product<Address>,
        product: sys::cublasLtMatmulDesc_t,
        [b, a, y]: [sys::cublasLtMatrixLayout_t; 3],
    ) -> Result<sys::cublasLtMatmulAlgo_t, DeviceError> {
        let wanted = lt::create_matmul_pref().map_err(failed)?;
        let of = lt::set_matmul_pref_attribute;
        set!(of, wanted, Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE);
        set!(of, wanted, Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(p.b.at));
        set!(of, wanted, Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(p.a.at));
        set!(of, wanted, Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(p.y.at));
        set!(of, wanted, Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(p.y.at));
        // SAFETY: all of them were just made.
        unsafe {
            let found = lt::get_matmul_algo_heuristic(self.handle, product, b, a, y, y, wanted);
            let _ = lt::destroy_matmul_pref(wanted);
            Ok(found.map_err(failed)?.algo)
        }
    }
}

/// A matrix that has so many rows and columns as cuBLASLt sees it.
fn layout(
    matrix: &Matrix<Address>,
    batch: usize,
    (rows, columns): (usize, usize),
) -> Result<sys::cublasLtMatrixLayout_t, DeviceError> {
    let kind = sys::cudaDataType_t::CUDA_R_32F;
    let made = lt::create_matrix_layout(kind, rows as u64, columns as u64, matrix.row as i64).map_err(failed)?;
    if batch > 1 {
        let count = i32::try_from(batch).map_err(|_| DeviceError(format!("{batch} products at a time")))?;
        let of = lt::set_matrix_layout_attribute;
        set!(of, made, Layout::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count);
        set!(of, made, Layout::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, matrix.next as i64);
    }
    Ok(made)
}
