// What rules one frame of many: its own functional groups go before the shared ones (PS3.3 C.7.6.16).
import { TAG, values } from "./dicom.js";

/** The attributes of an instance with those of a frame laid over them, as far as these macros have them. */
export function attributesOfFrame(dataset, frame, macros) {
  const shared = values(dataset, TAG.SharedFunctionalGroupsSequence)[0];
  const own = values(dataset, TAG.PerFrameFunctionalGroupsSequence)[frame - 1];
  const groups = macros.flatMap((macro) => [shared, own].map((group) => values(group, macro)[0]));
  return Object.assign({}, dataset, ...groups);
}
