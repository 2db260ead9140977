"""A deployment on the wire, as text, and as a document."""

from __future__ import annotations

NAME = "accounts/acme/deployments/d1"
PATH = f"/v1/{NAME}"
ALL = "/v1/accounts/acme/deployments"
MODEL = "accounts/acme/models/m"
WIRE = {
    "name": NAME,
    "displayName": "Two words",
    "baseModel": MODEL,
    "state": "READY",
    "status": {"code": "OK", "message": ""},
    "createTime": "2026-01-02T03:04:05Z",
    "maxReplicaCount": 2,
    "replicaStats": {"readyReplicaCount": 1},
    "autoscalingPolicy": {"scaleDownWindow": "600s", "loadTargets": {"default": 0.8}},
    "enableAddons": False,
    "placement": {"region": "US_IOWA_1"},
    "futureField": 1,
}
TEXT = """\
Name: accounts/acme/deployments/d1
Display Name: Two words
Base Model: accounts/acme/models/m
State: READY
Status:
  Code: OK
Create Time: 2026-01-02T03:04:05Z
Min Replica Count: 0
Max Replica Count: 2
Desired Replica Count: 0
Replica Count: 0
Replica Stats:
  Ready Replica Count: 1
Autoscaling Policy:
  Scale Down Window: 600s
  Load Targets:
    default: 0.8
Enable Addons: false
Placement:
  Region: US_IOWA_1
"""
DOCUMENT = {
    "name": NAME,
    "display_name": "Two words",
    "base_model": MODEL,
    "state": "READY",
    "status": {"code": "OK", "message": ""},
    "create_time": "2026-01-02T03:04:05Z",
    "max_replica_count": 2,
    "replica_stats": {"ready_replica_count": 1},
    "autoscaling_policy": {"scale_down_window": "600s", "load_targets": {"default": 0.8}},
    "enable_addons": False,
    "placement": {"region": "US_IOWA_1"},
}
