#include "clients/cpp/session_export.h"

namespace fmaserver::client {

ExportOutcome ExportInto(ExportFile& file, Connection& connection,
                         const v1::ExportSessionRequest& request) {
  grpc::ClientContext& context = connection.NewContext();
  ExportOutcome outcome;
  outcome.call = connection.client().ExportSession(context, request, [&](const auto& response) {
    outcome.file = file.Write(response.data());
    if (!outcome.file.ok()) context.TryCancel();
  });
  if (outcome.call.ok()) outcome.file.Update(file.Finish());
  return outcome;
}

}  // namespace fmaserver::client
