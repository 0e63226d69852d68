#include "clients/cpp/session_printer.h"

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "clients/cpp/output.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

const char* NameOf(v1::Session::Place place) {
  switch (place) {
    case v1::Session::PLACE_ACTIVE:
      return "active";
    case v1::Session::PLACE_IN_MEMORY:
      return "in_memory";
    case v1::Session::PLACE_ON_DISK:
      return "on_disk";
    default:
      return "unspecified";
  }
}

nlohmann::json ToJson(const v1::Session& session) {
  return {{"session_id", session.session_id()},
          {"tokens", session.tokens()},
          {"place", NameOf(session.place())},
          {"bytes", session.bytes()},
          {"rewind_points", session.rewind_points()},
          {"log_begin", session.log_begin()},
          {"durable", session.durable()},
          {"pinned", session.pinned()},
          {"ttl_seconds", session.ttl_seconds()},
          {"idle_seconds", session.idle_seconds()},
          {"resume_token", session.resume_token()}};
}

std::string Kept(const v1::Session& session) {
  if (session.pinned()) return "pinned";
  if (session.ttl_seconds() == 0) return "kept";
  return absl::StrFormat("expires after %g s", session.ttl_seconds());
}

}  // namespace

bool PrintSession(const v1::Session& session, bool json) {
  if (json) return PrintJsonLine(ToJson(session));
  return WriteOutput(absl::StrFormat("%s  %s tokens  %s  %s%s  %s\n", session.session_id(),
                                     WithCommas(session.tokens()), HumanBytes(session.bytes()),
                                     NameOf(session.place()), session.durable() ? ", durable" : "",
                                     Kept(session)));
}

bool PrintSessionDetails(const v1::Session& session, bool json) {
  if (json) return PrintJsonLine(ToJson(session));
  std::string text;
  const auto row = [&text](const char* name, const std::string& value) {
    absl::StrAppendFormat(&text, "%-14s  %s\n", name, value);
  };
  row("session", session.session_id());
  row("tokens", WithCommas(session.tokens()));
  row("size", HumanBytes(session.bytes()));
  row("place", absl::StrCat(NameOf(session.place()), session.durable() ? ", durable" : ""));
  row("kept", Kept(session));
  row("idle", absl::StrFormat("%.1f s", session.idle_seconds()));
  row("rewind points", absl::StrJoin(session.rewind_points(), ", "));
  row("log begins at", WithCommas(session.log_begin()));
  if (!session.resume_token().empty()) row("resume token", session.resume_token());
  return WriteOutput(text);
}

}  // namespace fmaserver::client
