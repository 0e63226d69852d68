// Where traces go and which calls are traced, as the command line and the environment say it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace fmaserver::tracing {

/// As it was given: Prepare() checks it.
struct TracingOptions {
  std::string endpoint = {};             ///< ParseEndpoint(); empty: nothing is traced
  std::string ca = {};                   ///< authorities for https, PEM; empty: the system's
  double ratio = 1;                      ///< Sampling::ratio
  std::string sampler = {};              ///< OTEL_TRACES_SAMPLER
  std::string sampler_argument = {};     ///< OTEL_TRACES_SAMPLER_ARG
  std::string service_name = {};         ///< OTEL_SERVICE_NAME
  std::string attributes = {};           ///< OTEL_RESOURCE_ATTRIBUTES
  std::string headers = {};              ///< OTEL_EXPORTER_OTLP_HEADERS
  std::string why_not_standard = {};     ///< why the environment's endpoint is not taken
  std::vector<std::string> listen = {};  ///< of the gRPC door, and of the HTTP door if there is one
};

/// What the standard variables of OpenTelemetry say; what is wrong with them is Prepare()'s to
/// refuse. An endpoint of another protocol than gRPC is not taken.
TracingOptions FromStandardEnvironment();

struct Endpoint {
  bool tls = false;
  std::string target = {};  ///< HOST:PORT
};

/// "http://HOST[:PORT]", or https:// with TLS. INVALID_ARGUMENT says what is wrong with `what`, and
/// repeats no password.
absl::StatusOr<Endpoint> ParseEndpoint(std::string_view what, std::string_view url);

/// Which calls are traced.
struct Sampling {
  /// A caller's traceparent decides for its call; else as if it had none.
  bool parent_based = true;
  double ratio = 1;  ///< of the traces, by their ids
};

using Pairs = std::vector<std::pair<std::string, std::string>>;

/// Options that hold.
struct TracingPlan {
  Endpoint endpoint;
  std::string ca_pem = {};  ///< empty: the system's
  Sampling sampling;
  Pairs headers = {};     ///< metadata of every export
  Pairs attributes = {};  ///< of the resource, the service's name among them
  std::vector<std::string> listen = {};
};

/// INVALID_ARGUMENT names the option or the variable; also the errors of reading a file.
absl::StatusOr<TracingPlan> Prepare(const TracingOptions& options);

}  // namespace fmaserver::tracing
