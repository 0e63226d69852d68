#include "server/tracing/tracing_options.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/address.h"
#include "base/environment.h"
#include "base/file.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::tracing {
namespace {

constexpr std::string_view kForm = "http://HOST[:PORT] or https://HOST[:PORT]";

std::string Variable(const std::string& name) { return FromEnvironment(name).value_or(""); }

/// The variable for traces alone wins over the one for every signal.
std::string OtlpVariable(const std::string& name) {
  return FromEnvironment("OTEL_EXPORTER_OTLP_TRACES_" + name)
      .value_or(Variable("OTEL_EXPORTER_OTLP_" + name));
}

/// Why the standard variables ask for no traces, or for none that this server can send.
std::string WhyNotStandard() {
  const std::string disabled = Variable("OTEL_SDK_DISABLED");
  if (absl::AsciiStrToLower(disabled) == "true") return "OTEL_SDK_DISABLED is true";
  const std::string exporter = Variable("OTEL_TRACES_EXPORTER");
  if (!exporter.empty() && exporter != "otlp") {
    return Concat("OTEL_TRACES_EXPORTER is ", Quoted(exporter));
  }
  const std::string protocol = OtlpVariable("PROTOCOL");
  if (!protocol.empty() && protocol != "grpc") {
    return Concat("OTEL_EXPORTER_OTLP_PROTOCOL is ", Quoted(protocol), ", and only grpc is spoken");
  }
  return {};
}

bool TakePrefix(std::string_view prefix, std::string_view& text) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool HasPort(std::string_view host_port) {
  const size_t colon = host_port.rfind(':');
  return colon != std::string_view::npos && host_port.find(']', colon) == std::string_view::npos;
}

/// "%41" becomes "A"; absent: it is cut short, or not two digits of hexadecimal.
std::optional<std::string> PercentDecoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    uint32_t byte = 0;
    const std::string digits(text.substr(i + 1, 2));
    if (digits.size() != 2 || !std::ranges::all_of(digits, absl::ascii_isxdigit) ||
        !absl::SimpleHexAtoi(digits, &byte)) {
      return std::nullopt;
    }
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

/// "key=value,key=value" with values that are percent-encoded. What is wrong is not repeated: it
/// may be a secret.
absl::StatusOr<Pairs> ParsePairs(std::string_view what, const std::string& text) {
  const absl::Status wrong =
      Refusal(what, Words{"something else"}, "NAME=VALUE,NAME=VALUE with percent-encoded values");
  Pairs pairs;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::string pair(absl::StripAsciiWhitespace(part));
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    if (equals == std::string::npos) return wrong;
    const std::string name(absl::StripAsciiWhitespace(pair.substr(0, equals)));
    const std::string raw(absl::StripAsciiWhitespace(pair.substr(equals + 1)));
    const std::optional<std::string> value = PercentDecoded(raw);
    if (name.empty() || !value.has_value()) return wrong;
    pairs.emplace_back(name, *value);
  }
  return pairs;
}

/// gRPC ends a process that gives it other metadata.
absl::StatusOr<Pairs> ParseHeaders(const std::string& text) {
  constexpr std::string_view kWhat = "OTEL_EXPORTER_OTLP_HEADERS";
  absl::StatusOr<Pairs> headers = ParsePairs(kWhat, text);
  if (!headers.ok()) return headers;
  for (auto& [name, value] : *headers) {
    absl::AsciiStrToLower(&name);
    const bool named = std::ranges::all_of(name, [](char c) {
      return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-' || c == '_' || c == '.';
    });
    const bool printable = std::ranges::all_of(value, [](char c) { return c >= 0x20 && c < 0x7f; });
    if (!named || !printable || name.starts_with("grpc-") || name.ends_with("-bin")) {
      return Refusal(kWhat, Words{"a header that gRPC does not send"},
                     "names of a-z 0-9 - _ . and values of printable ASCII");
    }
  }
  return headers;
}

absl::StatusOr<Pairs> ResourceAttributes(const TracingOptions& options) {
  absl::StatusOr<Pairs> attributes = ParsePairs("OTEL_RESOURCE_ATTRIBUTES", options.attributes);
  if (!attributes.ok()) return attributes;
  const auto is_name = [](const auto& pair) { return pair.first == "service.name"; };
  if (!options.service_name.empty()) {
    std::erase_if(*attributes, is_name);
    attributes->emplace_back("service.name", options.service_name);
  }
  if (std::ranges::none_of(*attributes, is_name)) {
    attributes->emplace_back("service.name", "fma-server");
  }
  return attributes;
}

absl::StatusOr<double> RatioOf(const std::string& text) {
  double ratio = 1;
  if (text.empty()) return ratio;
  if (!absl::SimpleAtod(text, &ratio) || !(ratio >= 0 && ratio <= 1)) {
    return Refusal("OTEL_TRACES_SAMPLER_ARG", text, "0 to 1");
  }
  return ratio;
}

/// Of the standard variables.
absl::StatusOr<Sampling> SamplingOf(const TracingOptions& options) {
  Sampling sampling;
  std::string_view sampler = options.sampler;
  if (!sampler.empty()) sampling.parent_based = TakePrefix("parentbased_", sampler);
  if (sampler == "always_off") {
    sampling.ratio = 0;
  } else if (sampler == "traceidratio") {
    const absl::StatusOr<double> ratio = RatioOf(options.sampler_argument);
    if (!ratio.ok()) return ratio.status();
    sampling.ratio = *ratio;
  } else if (!sampler.empty() && sampler != "always_on") {
    return Refusal("OTEL_TRACES_SAMPLER", options.sampler,
                   "always_on, always_off, traceidratio, or one of these after parentbased_");
  }
  return sampling;
}

absl::Status ReadAuthorities(const std::string& file, std::string& pem) {
  constexpr std::string_view kWhat = "otlp-ca";
  constexpr size_t kMaxPemBytes = size_t{1} << 20;
  if (file.empty()) return absl::OkStatus();
  absl::StatusOr<std::string> text = ReadWholeFile(file, kMaxPemBytes);
  if (!text.ok()) return At(kWhat, text.status());
  if (text->find("-----BEGIN CERTIFICATE-----") == std::string::npos) {
    return Refusal(At(kWhat, file), Words{"without a certificate"}, "a PEM file of authorities");
  }
  pem = *std::move(text);
  return absl::OkStatus();
}

}  // namespace

TracingOptions FromStandardEnvironment() {
  TracingOptions options;
  options.why_not_standard = WhyNotStandard();
  if (options.why_not_standard.empty()) options.endpoint = OtlpVariable("ENDPOINT");
  options.ca = OtlpVariable("CERTIFICATE");
  options.headers = OtlpVariable("HEADERS");
  options.sampler = Variable("OTEL_TRACES_SAMPLER");
  options.sampler_argument = Variable("OTEL_TRACES_SAMPLER_ARG");
  options.ratio = SamplingOf(options).value_or(Sampling()).ratio;
  options.service_name = Variable("OTEL_SERVICE_NAME");
  options.attributes = Variable("OTEL_RESOURCE_ATTRIBUTES");
  return options;
}

absl::StatusOr<Endpoint> ParseEndpoint(std::string_view what, std::string_view url) {
  if (url.find('@') != std::string_view::npos) {
    return Refusal(what, Words{"a URL with a user or a password"},
                   Concat(kForm, "; secrets belong into OTEL_EXPORTER_OTLP_HEADERS"));
  }
  std::string_view rest = url;
  Endpoint endpoint{.tls = TakePrefix("https://", rest)};
  if (!endpoint.tls && !TakePrefix("http://", rest)) return Refusal(what, url, kForm);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find('/') != std::string_view::npos) return Refusal(what, url, kForm);
  // OTLP's port for gRPC.
  endpoint.target = HasPort(rest) ? std::string(rest) : Concat(rest, ":4317");
  const auto host_port = ParseHostPort(what, endpoint.target);
  if (!host_port.ok()) return host_port.status();
  if (host_port->host.empty() || host_port->port == 0) return Refusal(what, url, kForm);
  return endpoint;
}

absl::StatusOr<TracingPlan> Prepare(const TracingOptions& options) {
  auto endpoint = ParseEndpoint("otlp-endpoint", options.endpoint);
  if (!endpoint.ok()) return endpoint.status();
  const auto sampling = SamplingOf(options);
  if (!sampling.ok()) return sampling.status();
  auto headers = ParseHeaders(options.headers);
  if (!headers.ok()) return headers.status();
  auto attributes = ResourceAttributes(options);
  if (!attributes.ok()) return attributes.status();
  TracingPlan plan{.endpoint = *std::move(endpoint),
                   .sampling = {.parent_based = sampling->parent_based, .ratio = options.ratio},
                   .headers = *std::move(headers),
                   .attributes = *std::move(attributes),
                   .listen = options.listen};
  if (absl::Status read = ReadAuthorities(options.ca, plan.ca_pem); !read.ok()) return read;
  return plan;
}

}  // namespace fmaserver::tracing
