// Attributes of spans and resources, as OTLP writes them.
#pragma once

#include <string>
#include <string_view>

#include "opentelemetry/traces.pb.h"

namespace fmaserver::tracing {

namespace otlp = opentelemetry::proto::collector::trace::v1;

/// Adds one to a span or a resource, and returns its value to be set.
template <class Holder>
otlp::AnyValue& AddAttribute(Holder& holder, std::string_view key) {
  otlp::KeyValue& attribute = *holder.add_attributes();
  attribute.set_key(std::string(key));
  return *attribute.mutable_value();
}

template <class Holder>
void AddText(Holder& holder, std::string_view key, std::string_view value) {
  AddAttribute(holder, key).set_string_value(std::string(value));
}

/// The same, where there is something to say.
template <class Holder>
void AddTextIfAny(Holder& holder, std::string_view key, std::string_view value) {
  if (!value.empty()) AddText(holder, key, value);
}

}  // namespace fmaserver::tracing
