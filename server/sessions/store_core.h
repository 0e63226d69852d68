// What the store, its turns and its imports are made of.
#pragma once

#include <memory>

#include "base/clock.h"
#include "server/sessions/part_loader.h"
#include "server/sessions/session_reader.h"
#include "server/sessions/session_table.h"
#include "server/sessions/session_types.h"
#include "server/sessions/session_writer.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

/// The table decides who may do what and never waits for the shelf. Loader, reader and writer work
/// on the shelf and cannot hold the table's mutex meanwhile.
struct StoreCore {
  StoreCore(SessionModel session_model, SessionOptions session_options,
            std::unique_ptr<StateShelf> state_shelf, SessionObserver& session_observer, Now now)
      : model(std::move(session_model)),
        options(std::move(session_options)),
        shelf(std::move(state_shelf)),
        observer(session_observer),
        table(options.memory_bytes, std::move(now)),
        loader(table, shelf.get(), model.archives.get()),
        writer(table, shelf.get(), loader, observer),
        reader(table, shelf.get(), loader, writer, observer) {}

  const SessionModel model;
  const SessionOptions options;
  const std::unique_ptr<StateShelf> shelf;  ///< null: sessions live in memory only
  SessionObserver& observer;
  SessionTable table;
  PartLoader loader;
  SessionWriter writer;
  SessionReader reader;
};

}  // namespace fmaserver::sessions
