//! Xids through the event sets of `nvml-wrapper`.

use super::support::{alone, open, write};
use fake_nvml::state::Machine;
use nvml_wrapper::{bitmasks::event::EventTypes, enums::event::XidError, error::NvmlError};

#[test]
fn an_xid_that_is_added_is_told_once_also_by_a_gpu_that_is_lost() {
    alone("events::an_xid_that_is_added_is_told_once_also_by_a_gpu_that_is_lost", |state| {
        let mut machine = Machine::profile("h100x2", "node-a").unwrap();
        machine.gpus[1].xids = vec![13];
        write(state, &machine);
        let nvml = open();
        let mut set = nvml.create_event_set().unwrap();
        for index in 0..2 {
            let gpu = nvml.device_by_index(index).unwrap();
            let all = gpu.supported_event_types().unwrap();
            assert!(all.contains(EventTypes::CRITICAL_XID_ERROR));
            set = gpu.register_events(EventTypes::CRITICAL_XID_ERROR, set).unwrap();
        }
        assert!(matches!(set.wait(0), Err(NvmlError::Timeout)), "what was before is not told");

        let scripted = [48, 63, 74, 94, 95, 79];
        for xid in scripted {
            machine.gpus[1].xids.push(xid);
            machine.gpus[1].lost = xid == 79;
            write(state, &machine);
            let event = set.wait(2_000).unwrap();
            assert!(matches!(event.event_data, Some(XidError::Value(told)) if told == xid));
            assert!(matches!(event.device.name(), Err(NvmlError::GpuLost)) == (xid == 79));
        }
        assert!(matches!(set.wait(10), Err(NvmlError::Timeout)));
        set.release_events().unwrap();
    });
}
