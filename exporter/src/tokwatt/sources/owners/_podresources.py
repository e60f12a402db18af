"""The kubelet's PodResources messages, built at run time from their numbers.

Source: kubernetes/kubelet pkg/apis/podresources/v1/api.proto. Only the fields that are read; protobuf skips others.
Generated code would tie tokwatt to one version of the protobuf runtime (ADR 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

METHOD = "/v1.PodResourcesLister/List"
_PACKAGE = "v1"
_TEXT = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_ONE = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
# message -> field -> (number, how many, message of the field or "" for text)
_FIELDS: Mapping[str, Mapping[str, tuple[int, Any, str]]] = {
    "ListPodResourcesResponse": {"pod_resources": (1, _MANY, "PodResources")},
    "PodResources": {
        "name": (1, _ONE, ""),
        "namespace": (2, _ONE, ""),
        "containers": (3, _MANY, "ContainerResources"),
    },
    "ContainerResources": {
        "name": (1, _ONE, ""),
        "devices": (2, _MANY, "ContainerDevices"),
        "dynamic_resources": (5, _MANY, "DynamicResource"),
    },
    "ContainerDevices": {"resource_name": (1, _ONE, ""), "device_ids": (2, _MANY, "")},
    "DynamicResource": {"claim_resources": (4, _MANY, "ClaimResource")},
    "ClaimResource": {"driver_name": (2, _ONE, ""), "pool_name": (3, _ONE, ""), "device_name": (4, _ONE, "")},
}


class PodResources:
    """The answer of `List` as a message class, and the error of bytes that are none. The request is empty."""

    def __init__(self) -> None:
        pool = descriptor_pool.DescriptorPool()
        pool.Add(_file())

        self.decode_error = DecodeError
        answer = pool.FindMessageTypeByName(f"{_PACKAGE}.ListPodResourcesResponse")
        self.response = message_factory.GetMessageClass(answer)


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="podresources.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, count, kind) in fields.items():
            added = message.field.add(name=field, number=number, label=count, type=_MESSAGE if kind else _TEXT)
            if kind:
                added.type_name = f".{_PACKAGE}.{kind}"
    return file
