//! `--device`: where a verb computes.

use std::str::FromStr;

use clap::Args;
use hanc_runtime::Device;

use super::ui::Ui;
use crate::error::Failure;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// A CUDA device where there is one, or else the CPU.
    Auto,
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        match text {
            "auto" => Ok(Wanted::Auto),
            "cpu" => Ok(Wanted::Cpu),
            "cuda" => Ok(Wanted::Cuda(0)),
            other => {
                let number = other.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                number.map(Wanted::Cuda).ok_or_else(|| "it is one of auto, cpu, cuda, cuda:N".to_owned())
            }
        }
    }
}

/// The option.
#[derive(Clone, Debug, Args)]
pub(super) struct DeviceArgs {
    /// Where it computes: auto, cpu, cuda, cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Wanted,
}

impl DeviceArgs {
    /// Opens the device that is asked for. `auto` says what it has chosen.
    pub fn open(&self, ui: &Ui) -> Result<Device, Failure> {
        match self.device {
            Wanted::Cpu => Ok(Device::Cpu),
            Wanted::Cuda(index) => {
                cuda(index).map_err(|missing| Failure::new("E406", format!("--device cuda:{index}"), missing))
            }
            Wanted::Auto => Ok(match cuda(0) {
                Ok(device) => {
                    ui.note(format!("computing on {device}"));
                    device
                }
                Err(missing) => {
                    ui.detail(format!("computing on the CPU: {missing}"));
                    Device::Cpu
                }
            }),
        }
    }

    /// The option as another process is given it, of a device that was opened.
    pub fn text(device: &Device, index: &DeviceArgs) -> String {
        match (device, index.device) {
            (Device::Cpu, _) => "cpu".to_owned(),
            #[cfg(feature = "cuda")]
            (Device::Cuda(_), Wanted::Cuda(index)) => format!("cuda:{index}"),
            #[cfg(feature = "cuda")]
            (Device::Cuda(_), _) => "cuda:0".to_owned(),
        }
    }
}

/// A CUDA device, or what is missing for it.
#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, String> {
    hanc_runtime::cuda::Cuda::open(index).map(Device::Cuda).map_err(|missing| missing.to_string())
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device, String> {
    Err("this program was built without the feature cuda".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_name() {
        let found = |text: &str| text.parse::<Wanted>();
        assert_eq!(found("auto"), Ok(Wanted::Auto));
        assert_eq!(found("cpu"), Ok(Wanted::Cpu));
        assert_eq!(found("cuda"), Ok(Wanted::Cuda(0)));
        assert_eq!(found("cuda:3"), Ok(Wanted::Cuda(3)));
        for other in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA"] {
            assert!(found(other).is_err(), "{other}");
        }
    }

    /// Where there is no device, the message says what is missing, and nothing panics.
    #[test]
    #[cfg(feature = "cuda")]
    fn a_device_that_is_not_there() {
        let missing = cuda(1 << 20).expect_err("no machine has so many devices");
        assert!(
            ["installed", "no CUDA device", "does not start"].iter().any(|part| missing.contains(part)),
            "{missing}"
        );
    }
}
