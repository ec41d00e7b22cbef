"""Stands for a GKE cluster with JobSet: checks a manifest, starts its pods as processes, restarts.

Taken from the types of JobSet v1alpha2 and the documentation of Job: unknown fields are refused; a
podFailurePolicy needs restartPolicy: Never; the first pod that ends with an error ends its job
(backoffLimit 0), and the other pods get SIGTERM, then SIGKILL; the reason is PodFailurePolicy where
a rule says FailJob, else BackoffLimitExceeded; the first rule of the failurePolicy with that reason
decides, and without one the JobSet restarts, at most maxRestarts times. To pods with google.com/tpu
GKE gives their number and the names of all.
"""

import subprocess
import time

JOBSET = {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {"name": str, "annotations": dict},
    "spec": {
        "failurePolicy": {
            "maxRestarts": int,
            "rules": [{"name": str, "action": str, "onJobFailureReasons": list}],
        },
        "replicatedJobs": [{"name": str, "replicas": int, "template": {"spec": {
            "parallelism": int,
            "completions": int,
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [{
                "action": str,
                "onExitCodes": {"containerName": str, "operator": "In", "values": list},
            }]},
            "template": {"spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": int,
                "nodeSelector": dict,
                "containers": [{
                    "name": str,
                    "image": str,
                    "command": list,
                    "securityContext": {"allowPrivilegeEscalation": bool},
                    "resources": {"limits": {"google.com/tpu": int}},
                }],
            }},
        }}}],
    },
}  # fmt: skip


def check(value, schema, where="manifest"):
    """Raises ValueError where a manifest has other fields than `schema`, or other values."""
    if isinstance(schema, dict):
        if set(value) != set(schema):
            raise ValueError(f"{where}: {sorted(set(value) ^ set(schema))}")
        for key, part in schema.items():
            check(value[key], part, f"{where}.{key}")
    elif isinstance(schema, list):
        for part in value:
            check(part, schema[0], f"{where}[]")
    elif not (isinstance(value, schema) if isinstance(schema, type) else value == schema):
        raise ValueError(f"{where}: {value!r}")


class Cluster:
    """Runs a JobSet. pods: the processes of the present attempt. codes: of every attempt."""

    def __init__(self, manifest, environment):
        """Raises ValueError where the API server would refuse the manifest."""
        check(manifest, JOBSET)
        self._policy = manifest["spec"]["failurePolicy"]
        [job] = manifest["spec"]["replicatedJobs"]
        self._job = job["template"]["spec"]
        self._environment = environment
        self.pods, self.codes = [], []

    def start(self):
        """Starts every pod."""
        [container] = self._job["template"]["spec"]["containers"]
        names = ",".join(["localhost"] * self._job["parallelism"])
        self.pods = []
        for index in range(self._job["parallelism"]):
            place = {"TPU_WORKER_ID": str(index), "TPU_WORKER_HOSTNAMES": names}
            environment = {**self._environment, **place, "TPU_SKIP_MDS_QUERY": "true"}
            self.pods.append(subprocess.Popen(container["command"], env=environment))

    def reason_of_end(self):
        """Waits until the job has ended. Returns "Complete" or why it failed."""
        while not any(pod.poll() for pod in self.pods):
            if all(pod.poll() == 0 for pod in self.pods):
                break
            time.sleep(0.05)
        first = next((pod.returncode for pod in self.pods if pod.returncode), 0)
        for pod in self.pods if first else []:
            if pod.poll() is None:
                pod.terminate()
        for pod in self.pods:
            try:
                pod.wait(self._job["template"]["spec"]["terminationGracePeriodSeconds"])
            except subprocess.TimeoutExpired:
                pod.kill()
        self.codes.append([pod.wait() for pod in self.pods])
        [rule] = self._job["podFailurePolicy"]["rules"]
        if not first:
            return "Complete"
        matches = rule["action"] == "FailJob" and first in rule["onExitCodes"]["values"]
        return "PodFailurePolicy" if matches else "BackoffLimitExceeded"

    def run(self):
        """Returns the terminal state, Completed or Failed; the pods of the first attempt run."""
        for _ in range(self._policy["maxRestarts"] + 1):
            reason = self.reason_of_end()
            if reason == "Complete":
                return "Completed"
            rules = [r for r in self._policy["rules"] if reason in r["onJobFailureReasons"]]
            if rules and rules[0]["action"] == "FailJobSet":
                return "Failed"
            self.start()
        return "Failed"
