//! Why Slurm lets a job wait, in plain words.

/// What keeps a job from starting, where that is not the ordinary wait for a free node.
pub fn in_words(reason: &str) -> Option<String> {
    let word = reason.trim_matches(['(', ')']).split([',', ' ']).next().unwrap_or_default();
    let words = match word {
        "" | "None" | "Resources" | "Priority" | "JobArrayTaskLimit" | "Cleaning" | "Prolog"
        | "Reservation" | "BeginTime" | "Dependency" | "NodesNotAvail" => return None,
        "JobHeldUser" => "it is held; `scontrol release` lets it go",
        "JobHeldAdmin" => "an administrator holds it",
        "JobHoldMaxRequeue" | "launch" => {
            "Slurm holds it after its start failed again and again; `scontrol release` lets it go"
        }
        "BadConstraints" => "no node has what it asks for (slurm.constraint, gpus, cpus, memory)",
        "PartitionDown" => "the partition is down: nothing starts in it",
        "PartitionInactive" => "the partition is inactive: nothing is scheduled in it",
        "PartitionNodeLimit" | "PartitionConfig" => {
            "the partition cannot give what it asks for (slurm.cpus, memory, gpus)"
        }
        "PartitionTimeLimit" => "its wall limit (slurm.time) is above the partition's",
        "AccountNotAllowed" | "InvalidAccount" | "AssociationNotFound" => {
            "the account may not be used here (slurm.account)"
        }
        "InvalidQOS" | "QOSNotAllowed" => "the quality of service may not be used here (slurm.qos)",
        "ReqNodeNotAvail" | "NodeDown" => "the nodes that it needs are down, drained or reserved",
        "Licenses" => "it waits for a license",
        "MaxMemPerLimit" => "its memory (slurm.memory) is above the limit",
        "DependencyNeverSatisfied" => "a job that it depends on has failed",
        "AssocMaxJobsLimit" | "QOSMaxJobsPerUserLimit" | "MaxJobsPerAccount" => {
            "you or your account have as many jobs as may run at once"
        }
        word if word.starts_with("Assoc") => "your account is at a limit of its resources",
        word if word.starts_with("QOS") || word.starts_with("MaxTRES") => {
            "the quality of service is at a limit of its resources"
        }
        _ => "Slurm does not start it",
    };
    Some(format!("{words} [{reason}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_wait_is_not_worth_a_word() {
        for reason in ["Resources", "Priority", "None", "JobArrayTaskLimit", "BeginTime", ""] {
            assert_eq!(in_words(reason), None);
        }
    }

    #[test]
    fn what_stands_in_the_way_is_named_with_slurms_own_word() {
        let said = |reason| in_words(reason).unwrap();
        assert!(said("JobHeldUser").contains("scontrol release"));
        assert!(said("PartitionTimeLimit").contains("slurm.time"));
        assert!(said("AssocGrpCPURunMinutesLimit").contains("limit"));
        assert!(said("(ReqNodeNotAvail, UnavailableNodes:n1)").contains("UnavailableNodes:n1"));
        assert!(said("SomethingNew").ends_with("[SomethingNew]"));
    }
}
