"""Prints what nvidia-ml-py and nvitop read, as one JSON document."""

import json

import nvitop
import pynvml


def told(call, *arguments):
    """A call's answer, or the name of its error."""
    try:
        answer = call(*arguments)
    except pynvml.NVMLError as error:
        return type(error).__name__
    return answer.decode() if isinstance(answer, bytes) else answer


def links(handle):
    """Each NVLink: up, and its checksum errors."""
    found = []
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        up = told(pynvml.nvmlDeviceGetNvLinkState, handle, link)
        if isinstance(up, str):
            break
        found.append([up, pynvml.nvmlDeviceGetNvLinkErrorCounter(handle, link, 2)])
    return found


def with_nvidia(index):
    """One GPU, by NVIDIA's client."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    uncorrected = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return {
        "name": told(pynvml.nvmlDeviceGetName, handle),
        "uuid": told(pynvml.nvmlDeviceGetUUID, handle),
        "memory": [memory.total, memory.used],
        "capability": list(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
        "temperature": pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU),
        "power": [
            pynvml.nvmlDeviceGetPowerUsage(handle),
            pynvml.nvmlDeviceGetEnforcedPowerLimit(handle),
        ],
        "clock": pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
        "ecc": [
            pynvml.nvmlDeviceGetTotalEccErrors(handle, uncorrected, counter)
            for counter in (pynvml.NVML_VOLATILE_ECC, pynvml.NVML_AGGREGATE_ECC)
        ],
        "rows": list(pynvml.nvmlDeviceGetRemappedRows(handle)),
        "throttle": pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        "numa": pynvml.nvmlDeviceGetNumaNodeId(handle),
        "cpus": [int(word) for word in pynvml.nvmlDeviceGetCpuAffinity(handle, 2)],
        "pids": [
            [process.pid, process.usedGpuMemory]
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        ],
        "mig": told(pynvml.nvmlDeviceGetMigMode, handle),
        "links": links(handle),
    }


def with_nvitop(device):
    """One GPU, by nvitop."""
    return {
        "name": device.name(),
        "uuid": device.uuid(),
        "memory": [device.memory_total(), device.memory_used()],
        "temperature": device.temperature(),
        "power": [device.power_usage(), device.power_limit()],
        "ecc": device.total_volatile_uncorrected_ecc_errors(),
        "use": device.gpu_utilization(),
        "pids": sorted(device.processes()),
        "slices": [
            [slice.name(), slice.uuid(), slice.memory_total()]
            for slice in device.mig_devices()
        ],
    }


pynvml.nvmlInit()
print(
    json.dumps(
        {
            "driver": [told(pynvml.nvmlSystemGetDriverVersion), nvitop.Device.driver_version()],
            "cuda": [
                pynvml.nvmlSystemGetCudaDriverVersion_v2(),
                nvitop.Device.cuda_driver_version(),
            ],
            "nvidia": [with_nvidia(index) for index in range(pynvml.nvmlDeviceGetCount())],
            "nvitop": [with_nvitop(device) for device in nvitop.Device.all()],
        }
    )
)
