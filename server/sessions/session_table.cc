#include "server/sessions/session_table.h"

#include <utility>

namespace fmaserver::sessions {

Reservation::Reservation(Reservation&& other) noexcept
    : table_(std::exchange(other.table_, nullptr)), bytes_(other.bytes_) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Reservation::~Reservation() {
  if (table_ != nullptr) table_->Unreserve(bytes_);
}

Claim::Claim(SessionTable& table, SessionPtr session, Kind kind)
    : table_(&table), session_(std::move(session)), kind_(kind) {}

Claim::Claim(Claim&& other) noexcept
    : table_(other.table_), session_(std::exchange(other.session_, nullptr)), kind_(other.kind_) {}

Claim& Claim::operator=(Claim&& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(session_, other.session_);
  std::swap(kind_, other.kind_);
  return *this;
}

Claim::~Claim() {
  if (session_ != nullptr) table_->Release(*session_, kind_);
}

SessionTable::AnyClaim SessionTable::Take(const SessionName& name) {
  std::unique_lock lock(mutex_);
  SessionPtr session;
  // Look again after each wait: the session may have been removed or made meanwhile.
  for (;;) {
    SessionPtr& entry = sessions_[name];
    if (entry == nullptr) entry = std::make_shared<Session>(name);
    session = entry;
    if (!session->changing) break;
    released_.wait(lock);
  }
  memory_.Unpark(*session);
  if (session->turn) {
    ++session->readers;
    return ReadClaim(*this, std::move(session));
  }
  session->changing = true;
  released_.wait(lock, [&] { return session->readers == 0; });
  return ChangeClaim(*this, std::move(session));
}

ReadClaim SessionTable::ToRead(ChangeClaim claim) {
  const std::lock_guard lock(mutex_);
  SessionPtr session = std::move(claim.session_);
  session->changing = false;
  session->used = true;
  ++session->readers;
  released_.notify_all();
  return ReadClaim(*this, std::move(session));
}

TurnClaim SessionTable::ToTurn(ChangeClaim claim) {
  const std::lock_guard lock(mutex_);
  SessionPtr session = std::move(claim.session_);
  session->changing = false;
  session->used = true;
  memory_.SetTurn(*session, true);
  released_.notify_all();
  return TurnClaim(*this, std::move(session));
}

ChangeClaim SessionTable::ToChange(TurnClaim claim) {
  std::unique_lock lock(mutex_);
  SessionPtr session = std::move(claim.session_);
  // While a turn is live only the turn itself can change the session; other callers can only read.
  session->changing = true;
  released_.wait(lock, [&] { return session->readers == 0; });
  memory_.SetTurn(*session, false);
  return ChangeClaim(*this, std::move(session));
}

void SessionTable::Release(Session& session, Claim::Kind kind) {
  const std::lock_guard lock(mutex_);
  switch (kind) {
    case Claim::Kind::kRead:
      --session.readers;
      break;
    case Claim::Kind::kTurn:
      memory_.SetTurn(session, false);
      break;
    case Claim::Kind::kChange:
      session.changing = false;
      break;
  }
  Settle(session);
  released_.notify_all();
}

SessionInfo SessionTable::End(ChangeClaim claim) {
  const std::lock_guard lock(mutex_);
  const SessionPtr session = std::move(claim.session_);
  session->changing = false;
  session->used = true;
  Settle(*session);
  released_.notify_all();
  return Describe(*session);
}

// Called when nobody claims the session any more.
void SessionTable::Settle(Session& session) {
  if (session.claimed()) return;
  if (!session.exists) {
    sessions_.erase(session.name);
    return;
  }
  if (std::exchange(session.used, false)) {
    session.last_used = now_();
    memory_.Use(session);
  }
  memory_.Park(session);
  memory_.Free(0);
}

bool SessionTable::Exists(const Claim& claim) const {
  const std::lock_guard lock(mutex_);
  return claim.session_->exists;
}

bool SessionTable::HasExpired(const Session& session) const {
  const SessionContents& contents = session.holding.contents;
  return session.exists && !session.turn && !session.used && !contents.pinned &&
         contents.ttl_seconds > 0 &&
         SecondsBetween(session.last_used, now_()) > contents.ttl_seconds;
}

bool SessionTable::IsExpired(const ChangeClaim& claim) const {
  const std::lock_guard lock(mutex_);
  return HasExpired(*claim.session_);
}

Holding SessionTable::HoldingOf(const Claim& claim) const {
  const std::lock_guard lock(mutex_);
  return claim.session_->holding;
}

SessionInfo SessionTable::InfoOf(const Claim& claim) const {
  const std::lock_guard lock(mutex_);
  return Describe(*claim.session_);
}

SessionInfo SessionTable::Describe(const Session& session) const {
  const SessionContents& contents = session.holding.contents;
  SessionInfo info{.id = session.name.id,
                   .tokens = contents.tokens,
                   .place = PlaceOf(session),
                   .log_begin = contents.log_begin,
                   .durable = session.holding.durable,
                   .pinned = contents.pinned,
                   .ttl_seconds = contents.ttl_seconds,
                   .idle_seconds = session.turn ? 0 : SecondsBetween(session.last_used, now_())};
  for (const PartPtr& chunk : *contents.chunks) info.bytes += chunk->bytes;
  for (const Point& point : contents.points) {
    info.bytes += point.slot->bytes;
    info.rewind_points.push_back(point.tokens());
  }
  if (contents.interruption.has_value()) info.resume_token = contents.interruption->token;
  return info;
}

std::vector<PartBytes> SessionTable::BytesOf(const Claim& /*claim*/,
                                             const std::vector<PartPtr>& parts) const {
  std::vector<PartBytes> bytes;
  bytes.reserve(parts.size());
  const std::lock_guard lock(mutex_);
  for (const PartPtr& part : parts) bytes.push_back(part->memory);
  return bytes;
}

void SessionTable::Attach(const Claim& /*claim*/, const PartPtr& part, PartBytes bytes) {
  const std::lock_guard lock(mutex_);
  memory_.Attach(*part, std::move(bytes));
}

void SessionTable::Attach(const Claim& claim, std::shared_ptr<Tail> tail) {
  const std::lock_guard lock(mutex_);
  memory_.Attach(*claim.session_, std::move(tail));
}

void SessionTable::Set(const ChangeClaim& claim, Holding holding) {
  const std::lock_guard lock(mutex_);
  Session& session = *claim.session_;
  if (!session.exists) CountExisting(session, 1);
  memory_.Set(session, std::move(holding));
  session.used = true;
  session.last_used = now_();
}

void SessionTable::Erase(const ChangeClaim& claim) {
  const std::lock_guard lock(mutex_);
  Session& session = *claim.session_;
  if (!session.exists) return;
  memory_.Clear(session);
  CountExisting(session, -1);
}

void SessionTable::DropArchives(const std::string& tenant, absl::FunctionRef<bool()> enough) {
  const std::lock_guard lock(mutex_);
  memory_.DropArchives(tenant, enough);
}

void SessionTable::CountExisting(const Session& session, int64_t change) {
  existing_ += change;
  const auto tenant = tenants_.try_emplace(session.name.tenant).first;
  tenant->second += change;
  if (tenant->second == 0) tenants_.erase(tenant);
}

bool SessionTable::Fits() {
  const std::lock_guard lock(mutex_);
  return memory_.Free(0);
}

std::optional<Reservation> SessionTable::Reserve(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (!memory_.Free(bytes)) return std::nullopt;
  memory_.Reserve(bytes);
  return Reservation(*this, bytes);
}

void SessionTable::Unreserve(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  memory_.Reserve(-bytes);
}

int64_t SessionTable::count() const {
  const std::lock_guard lock(mutex_);
  return existing_;
}

int64_t SessionTable::CountOf(const std::string& tenant) const {
  const std::lock_guard lock(mutex_);
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second;
}

std::vector<std::string> SessionTable::Ids(const std::string& tenant,
                                           const std::string& from) const {
  std::vector<std::string> ids;
  const std::lock_guard lock(mutex_);
  for (auto session = sessions_.lower_bound({tenant, from});
       session != sessions_.end() && session->first.tenant == tenant; ++session) {
    if (session->second->exists) ids.push_back(session->first.id);
  }
  return ids;
}

std::vector<SessionName> SessionTable::Expired(const std::string& tenant) const {
  std::vector<SessionName> names;
  const std::lock_guard lock(mutex_);
  for (auto session = sessions_.lower_bound({tenant, {}}); session != sessions_.end(); ++session) {
    if (!tenant.empty() && session->first.tenant != tenant) break;
    if (HasExpired(*session->second)) names.push_back(session->first);
  }
  return names;
}

SessionStats SessionTable::Stats() const {
  const std::lock_guard lock(mutex_);
  return memory_.stats();
}

}  // namespace fmaserver::sessions
