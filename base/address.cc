#include "base/address.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "base/refusal.h"

namespace fmaserver {
namespace {

constexpr int kMaxPort = 65535;

bool IsPort(std::string_view text, int& port) {
  constexpr size_t kMaxDigits = 5;
  const bool digits = std::ranges::all_of(
      text, [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); });
  return digits && text.size() <= kMaxDigits && absl::SimpleAtoi(ToAbsl(text), &port) &&
         port <= kMaxPort;
}

/// The host without brackets; empty where they are missing, broken, or hold nothing.
std::string_view HostOf(std::string_view text) {
  const bool opened = text.starts_with('[');
  if (opened != text.ends_with(']')) return {};
  const std::string_view host = opened && text.size() > 1 ? text.substr(1, text.size() - 2) : text;
  if (opened != (host.find(':') != std::string_view::npos)) return {};
  return host;
}

}  // namespace

absl::StatusOr<HostPort> ParseHostPort(std::string_view what, std::string_view text) {
  const size_t colon = text.rfind(':');
  HostPort address;
  if (colon != std::string_view::npos) address.host = HostOf(text.substr(0, colon));
  if (address.host.empty() || !IsPort(text.substr(colon + 1), address.port)) {
    return Refusal(what, text, "HOST:PORT or [IPV6]:PORT with a port from 0 to 65535");
  }
  return address;
}

}  // namespace fmaserver
