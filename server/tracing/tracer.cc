#include "server/tracing/tracer.h"

#include <unistd.h>

#include <array>
#include <string>

#include "base/address.h"
#include "base/id.h"
#include "server/tracing/sampler.h"

namespace fmaserver::tracing {
namespace {

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

/// Where every address of the machine is listened on, its name says more.
DoorAddress AddressOf(const std::string& listen) {
  const auto parsed = ParseHostPort("listen", listen);
  if (!parsed.ok()) return {.host = listen};
  const bool everywhere = parsed->host == "0.0.0.0" || parsed->host == "::";
  return {.host = everywhere ? HostName() : parsed->host, .port = parsed->port};
}

DoorAddresses AddressesOf(const std::vector<std::string>& listen) {
  DoorAddresses doors;
  if (!listen.empty()) doors.grpc = AddressOf(listen[0]);
  if (listen.size() > 1) doors.http = AddressOf(listen[1]);
  return doors;
}

/// What the user's attributes do not say stands behind them.
otlp::ResourceSpans Sender(const Pairs& attributes) {
  otlp::ResourceSpans sender;
  otlp::Resource& resource = *sender.mutable_resource();
  const auto add = [&](std::string_view name, std::string_view value) {
    for (const auto& attribute : resource.attributes()) {
      if (attribute.key() == name) return;
    }
    AddTextIfAny(resource, name, value);
  };
  for (const auto& [name, value] : attributes) add(name, value);
  add("service.version", FMA_VERSION);
  add("service.instance.id", RandomId());
  add("host.name", HostName());
  otlp::InstrumentationScope& scope = *sender.add_scope_spans()->mutable_scope();
  scope.set_name("fma-server");
  scope.set_version(FMA_VERSION);
  return sender;
}

}  // namespace

Tracer::Tracer(const TracingPlan& plan, const ExporterOptions& options)
    : sampling_(plan.sampling),
      doors_(AddressesOf(plan.listen)),
      counts_(std::make_shared<TraceCounts>()),
      exporter_(plan, Sender(plan.attributes), counts_, options) {}

std::shared_ptr<service::CallTrace> Tracer::Trace(const service::CallMetadata& checked) {
  return Sample(sampling_, checked);
}

void Tracer::OnCall(const service::CallReport& report) {
  if (report.trace != nullptr) exporter_.Offer(SpansOf(report, doors_, Calendar()));
}

}  // namespace fmaserver::tracing
