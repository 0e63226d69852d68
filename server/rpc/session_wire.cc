#include "server/rpc/session_wire.h"

#include <algorithm>
#include <limits>

namespace fmaserver::rpc {
namespace {

v1::Session::Place PlaceToWire(sessions::SessionPlace place) {
  switch (place) {
    case sessions::SessionPlace::kActive:
      return v1::Session::PLACE_ACTIVE;
    case sessions::SessionPlace::kInMemory:
      return v1::Session::PLACE_IN_MEMORY;
    case sessions::SessionPlace::kOnDisk:
      return v1::Session::PLACE_ON_DISK;
  }
  return v1::Session::PLACE_UNSPECIFIED;
}

}  // namespace

v1::Session ToWire(const sessions::SessionInfo& info) {
  v1::Session session;
  session.set_session_id(info.id);
  session.set_tokens(info.tokens);
  session.set_place(PlaceToWire(info.place));
  session.set_bytes(info.bytes);
  session.mutable_rewind_points()->Add(info.rewind_points.begin(), info.rewind_points.end());
  session.set_log_begin(info.log_begin);
  session.set_durable(info.durable);
  session.set_pinned(info.pinned);
  session.set_ttl_seconds(info.ttl_seconds);
  session.set_idle_seconds(info.idle_seconds);
  session.set_resume_token(info.resume_token);
  return session;
}

absl::StatusOr<v1::Session> ToWire(const absl::StatusOr<sessions::SessionInfo>& info) {
  if (!info.ok()) return info.status();
  return ToWire(*info);
}

absl::StatusOr<v1::ListSessionsResponse> ToWire(const absl::StatusOr<sessions::SessionPage>& page) {
  if (!page.ok()) return page.status();
  v1::ListSessionsResponse response;
  for (const sessions::SessionInfo& info : page->sessions) *response.add_sessions() = ToWire(info);
  response.set_next_page_token(page->next);
  return response;
}

absl::StatusOr<v1::ForkSessionResponse> ToWire(
    const absl::StatusOr<std::vector<sessions::SessionInfo>>& children) {
  if (!children.ok()) return children.status();
  v1::ForkSessionResponse response;
  for (const sessions::SessionInfo& info : *children) *response.add_children() = ToWire(info);
  return response;
}

sessions::SessionLifetime LifetimeOf(const v1::CreateSessionRequest& request) {
  sessions::SessionLifetime lifetime{.pinned = request.pinned()};
  if (request.has_ttl_seconds()) lifetime.ttl_seconds = request.ttl_seconds();
  return lifetime;
}

sessions::SessionLifetime LifetimeOf(const v1::UpdateSessionRequest& request) {
  sessions::SessionLifetime lifetime;
  if (request.has_ttl_seconds()) lifetime.ttl_seconds = request.ttl_seconds();
  if (request.has_pinned()) lifetime.pinned = request.pinned();
  return lifetime;
}

std::optional<int64_t> PageSizeOf(const v1::ListSessionsRequest& request) {
  if (!request.has_page_size()) return std::nullopt;
  return request.page_size();
}

int64_t TokensOf(uint64_t tokens) {
  return static_cast<int64_t>(
      std::min(tokens, static_cast<uint64_t>(std::numeric_limits<int64_t>::max())));
}

}  // namespace fmaserver::rpc
