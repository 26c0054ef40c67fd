// An extension of OHIF 3.13.2, registered after its own ones: what its image loader is told of an image, mended.
//
// - A provider that knows nothing of a type or an image says `undefined`, and the next one is asked.
// - `voiLUTFunction`: the loader takes the first entry of it, and of a string that is a letter, with which nothing is
//   drawn. What is no defined term (PS3.3 C.11.2.1.3) means LINEAR, as does none.
const archiveExtension = {
  id: 'dicomweb-archive',
  preRegistration() {
    const { metaData, Enums } = window.cornerstone;
    const functions = Object.values(Enums.VOILUTFunctionType);
    const corrections = {
      voiLutModule: module => ({
        ...module,
        voiLUTFunction: functions.filter(name => name === module.voiLUTFunction?.trim?.()),
      }),
    };
    let asking = false;
    const corrected = (type, imageId) => {
      if (asking || !(type in corrections)) return undefined;
      asking = true;
      try {
        const module = metaData.get(type, imageId);
        return module && corrections[type](module);
      } finally {
        asking = false;
      }
    };
    metaData.addProvider(corrected, 100_000); // OHIF's own have 10_000 at most
  },
};
