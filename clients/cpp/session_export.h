// A session of the server goes into a file.
#pragma once

#include "absl/status/status.h"
#include "clients/cpp/blob_file.h"
#include "clients/cpp/connection.h"
#include "fma/v1/sessions.pb.h"

namespace fmaserver::client {

struct ExportOutcome {
  absl::Status call;
  absl::Status file;
};

/// Writes the blob of the session that `request` names into `file`, and finishes it.
ExportOutcome ExportInto(ExportFile& file, Connection& connection,
                         const v1::ExportSessionRequest& request);

}  // namespace fmaserver::client
