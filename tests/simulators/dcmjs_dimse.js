// A workstation with dcmjs-dimse: node dcmjs_dimse.js MODULES JOB, where JOB is a JSON file; JOB.told is one afterwards.
// The job says where to connect, as whom, and what to do; what came back is told without judging it.
const fs = require('fs');
const path = require('path');

const [, , modules, jobFile] = process.argv;
const dimse = require(path.join(modules, 'dcmjs-dimse'));
const { Client, Dataset } = dimse;
const requests = dimse.requests;
const { CStoreResponse, NEventReportResponse } = dimse.responses;
const { SopClass, Status, UserIdentityType } = dimse.constants;

const job = JSON.parse(fs.readFileSync(jobFile, 'utf8'));
const told = { statuses: [], found: [], taken: [], reports: [], errors: [] };

function request() {
  switch (job.what) {
    case 'echo':
      return new requests.CEchoRequest();
    case 'store':
      return new requests.CStoreRequest(job.file);
    case 'find':
      return requests.CFindRequest.createStudyFindRequest(job.keys);
    case 'get':
      return requests.CGetRequest.createStudyGetRequest(job.study);
    case 'move':
      return requests.CMoveRequest.createStudyMoveRequest(job.destination, job.study);
    case 'commit': {
      const action = new requests.NActionRequest(
        SopClass.StorageCommitmentPushModel, '1.2.840.10008.1.20.1.1', 1);
      action.setDataset(new Dataset({
        TransactionUID: job.transaction,
        ReferencedSOPSequence: job.references.map(([sopClass, instance]) => ({
          ReferencedSOPClassUID: sopClass, ReferencedSOPInstanceUID: instance,
        })),
      }));
      return action;
    }
    default:
      throw new Error(`unknown job ${job.what}`);
  }
}

const asked = request();
asked.on('response', (response) => {
  told.statuses.push(response.getStatus());
  if (response.getStatus() === Status.Pending && response.hasDataset()) {
    told.found.push(response.getDataset().getElements());
  }
});
const client = new Client();
client.on('cStoreRequest', (incoming, answer) => {
  told.taken.push(incoming.getDataset().getElement('SOPInstanceUID'));
  const response = CStoreResponse.fromRequest(incoming);
  response.setStatus(Status.Success);
  answer(response);
});
client.on('nEventReportRequest', (incoming, answer) => {
  told.reports.push(incoming.getDataset().getElements());
  const response = NEventReportResponse.fromRequest(incoming);
  response.setStatus(Status.Success);
  answer(response);
});
client.on('associationRejected', (reject) => told.errors.push(['rejected', reject]));
client.on('networkError', (error) => told.errors.push(['network', String(error)]));
client.on('closed', () => {
  fs.writeFileSync(`${jobFile}.told`, JSON.stringify(told));
  process.exit(0);
});
client.addRequest(asked);
const material = (name) => fs.readFileSync(path.join(job.node, name));
client.send('127.0.0.1', job.port, job.title, 'STRONGROOM', {
  associationLingerTimeout: job.linger || 0,
  userIdentity: job.user && {
    type: UserIdentityType.UsernameAndPasscode, positiveResponseRequested: true,
    primaryField: job.user[0], secondaryField: job.user[1],
  },
  securityOptions: {
    key: material('key.pem'), cert: material('cert.pem'), ca: material('ca.pem'),
    rejectUnauthorized: true, checkServerIdentity: () => undefined,
  },
});
