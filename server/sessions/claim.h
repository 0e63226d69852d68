// Claims: the right to use a session for a while. Without one, nothing of the session can be loaded
// or changed.
#pragma once

#include <cstdint>

#include "server/sessions/session.h"

namespace fmaserver::sessions {

class SessionTable;

/// Made by the table, which outlives it, and given back by its destructor. While it lives nothing
/// of the session leaves memory. Movable; a claim that was moved from may only be destroyed or
/// assigned. Used by one thread at a time.
class Claim {
 public:
  Claim(Claim&& other) noexcept;
  Claim& operator=(Claim&& other) noexcept;
  ~Claim();

  const SessionName& name() const { return session_->name; }

 protected:
  enum class Kind : uint8_t { kRead, kTurn, kChange };

  Claim(SessionTable& table, SessionPtr session, Kind kind);

 private:
  friend class SessionTable;

  SessionTable* table_;
  SessionPtr session_;
  Kind kind_;
};

/// The session stays as it is. Any number of readers share it, with one another and with a turn.
class ReadClaim : public Claim {
  friend class SessionTable;
  ReadClaim(SessionTable& table, SessionPtr session)
      : Claim(table, std::move(session), Kind::kRead) {}
};

/// A live turn: nobody else may change the session, and others see what it held before.
class TurnClaim : public Claim {
  friend class SessionTable;
  TurnClaim(SessionTable& table, SessionPtr session)
      : Claim(table, std::move(session), Kind::kTurn) {}
};

/// The session, or the name of one that is about to be made, for the holder alone; others wait.
class ChangeClaim : public Claim {
  friend class SessionTable;
  ChangeClaim(SessionTable& table, SessionPtr session)
      : Claim(table, std::move(session), Kind::kChange) {}
};

}  // namespace fmaserver::sessions
