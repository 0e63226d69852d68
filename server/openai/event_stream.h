// An answer as a stream of events, which is never silent for long.
#pragma once

#include <memory>
#include <string>

#include "server/openai/exchange.h"
#include "server/openai/hall.h"
#include "server/openai/loop.h"

namespace fmaserver::openai {

/// On the loop's thread.
class EventStream final : public std::enable_shared_from_this<EventStream> {
 public:
  /// `hall` outlives the stream.
  EventStream(Hall& hall, std::shared_ptr<Responder> responder, Headers headers)
      : hall_(hall),
        responder_(std::move(responder)),
        headers_(std::move(headers)),
        silence_(hall.loop) {}

  /// From now on a comment breaks each silence, until End or Stop.
  void AwaitSilence();
  void Stop() { silence_.Clear(); }

  /// Whether the stream's head is sent, so that no other answer can be.
  bool began() const { return began_; }

  /// Sends events, as Responder::Write.
  void Write(std::string events, Responder::Written written);
  /// Sends the last ones.
  void End(std::string events);

 private:
  void Begin();

  Hall& hall_;
  const std::shared_ptr<Responder> responder_;
  const Headers headers_;
  Timer silence_;
  bool began_ = false;
  bool spoke_ = false;  // since the last look at silence
};

}  // namespace fmaserver::openai
